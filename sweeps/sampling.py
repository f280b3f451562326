"""The default sampler: Optuna's TPE, which does not propose what is known to be over budget."""

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

_DRAWS = 20


class WithinBudgets(optuna.samplers.TPESampler):
    """Costs are known before training, so that a proposal over budget is drawn again, some times at most; the random
    proposals at the start are taken as they come."""

    def __init__(self, seed: int, is_within: Callable[[dict[str, Any]], bool]):
        super().__init__(seed=seed, multivariate=True)
        self.is_within = is_within

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        params = super().sample_relative(study, trial, search_space)
        for _ in range(_DRAWS):
            if not params or self.is_within(params):
                break
            params = super().sample_relative(study, trial, search_space)
        return params
