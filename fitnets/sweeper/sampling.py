"""Samplers and pruners of a study: they are made from the configuration, and tried before the first trial."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from fitnets.errors import ConfigError
from fitnets.sweeper import internals, trials
from fitnets.sweeper.storage import Direction
from fitnets.sweeper.trials import Space

_MAX_DRAWS = 20
_STARTUP_TRIALS = 10
"""Most samplers draw at random until this many trials have ended."""
_MAX_STARTUP_TRIALS = 200
_REPORTS = 12
"""intermediate values of the trial that a pruner is tried on"""

IsWithin = Callable[[dict[str, Any]], bool]
"""Returns true if a job with these parameters is within its budgets."""


class WithinBudgets(optuna.samplers.TPESampler):
    """Optuna's TPE sampler, which draws again if a proposal is over budget.

    Costs are computed before training. After `_MAX_DRAWS` draws the proposal is taken anyway. The random proposals at
    the start are not checked.
    """

    def __init__(self, seed: int, is_within: IsWithin):
        super().__init__(seed=seed, multivariate=True)
        self.is_within = is_within

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        params = super().sample_relative(study, trial, search_space)
        for _ in range(_MAX_DRAWS):
            if not params or self.is_within(params):
                break
            params = super().sample_relative(study, trial, search_space)
        return params


# --- made from the configuration ---


def for_trial(
    conf: DictConfig, space: Space, *, shift: int, wants_unseen: bool, is_within: IsWithin | None
) -> BaseSampler:
    """The sampler for one trial of a study.

    conf: keys of `hydra.sweeper`
    shift: is added to the sampler's seed
    wants_unseen: replace a sampler that repeats itself by one that draws points that no trial has tried
    is_within: checks the budgets; None if there are none
    """
    seed = conf.seed + shift
    if wants_unseen:
        is_finite = trials.size(space) is not None
        return optuna.samplers.BruteForceSampler(seed) if is_finite else optuna.samplers.RandomSampler(seed)
    if conf.sampler is not None:
        return sampler(conf.sampler, shift)
    if is_within is not None:
        return WithinBudgets(seed, is_within)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def sampler(given: Any, shift: int = 0) -> BaseSampler:
    """Make the sampler of `hydra.sweeper.sampler`. Raises ConfigError if it cannot be made.

    shift: is added to the sampler's seed
    """
    if isinstance(given, DictConfig) and isinstance(given.get("seed"), int):
        given = given.copy()
        given.seed += shift
    made = _made("sampler", given, "optuna.samplers.TPESampler")
    if not isinstance(made, BaseSampler):
        raise _refused("sampler", given, f"{type(made).__name__} is no sampler", "optuna.samplers.TPESampler")
    return made


def pruner(given: Any) -> BasePruner:
    """Make the pruner of `hydra.sweeper.pruner`. Raises ConfigError if it cannot be made."""
    made = _made("pruner", given, "optuna.pruners.MedianPruner")
    if not isinstance(made, BasePruner):
        raise _refused("pruner", given, f"{type(made).__name__} is no pruner", "optuna.pruners.MedianPruner")
    return made


Kind = Literal["sampler", "pruner"]


def _made(kind: Kind, given: Any, example: str) -> Any:
    if not isinstance(given, DictConfig) or "_target_" not in given:
        raise _refused(kind, given, "no class is named", example)
    try:
        with warnings.catch_warnings(action="ignore"):  # Optuna warns of its experimental classes
            return instantiate(given, _execution_whitelist_="optuna.*")
    except Exception as error:
        raise _refused(kind, given, error, example) from error


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _refused(kind: Kind, given: Any, reason: str | BaseException, example: str) -> ConfigError:
    name = given.get("_target_", given) if isinstance(given, DictConfig) else given
    way_out = f"give a {kind} of Optuna, 'hydra.sweeper.{kind}={{_target_: {example}}}', or hydra.sweeper.{kind}=null"
    if isinstance(reason, BaseException):
        reason = _innermost(reason)
        module = reason.name or "" if isinstance(reason, ModuleNotFoundError) else ""
        if module and not module.startswith("optuna"):
            way_out = f"pip install {module.split('.')[0]}, or give hydra.sweeper.{kind}=null"
        reason = trials.in_one_line(reason)
    return ConfigError(f"hydra.sweeper.{kind}={name}: {reason.rstrip('.')}: {way_out}")


# --- tried before the first trial ---


def try_sampler(given: Any, space: Space, directions: list[Direction]) -> None:
    """Let the sampler propose points of the space in a study in memory. Raises ConfigError if it cannot."""
    candidate = sampler(given)
    _check_grid(given, space)
    startup = given.get("n_startup_trials")
    count = min(_MAX_STARTUP_TRIALS, startup if isinstance(startup, int) else _STARTUP_TRIALS)
    with warnings.catch_warnings(action="ignore"):
        study = optuna.create_study(directions=directions, sampler=candidate)
        random = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(0))
        values = [0.5] * len(directions)
        try:
            study.ask(space)
            for number in range(count):  # after these trials the sampler uses its model
                params = random.ask(space).params
                spread = [value + number / 1000 for value in values]
                study.add_trial(optuna.create_trial(params=params, distributions=space, values=spread))
            trial = study.ask(space)
            internals.tell(study, trial, values)
            study.ask(space)
        except Exception as error:
            raise _refused("sampler", given, error, "optuna.samplers.TPESampler") from error


def _check_grid(given: DictConfig, space: Space) -> None:
    """Raise ConfigError if the sampler's `search_space` is not part of the study's."""
    grid = given.get("search_space")
    if not isinstance(grid, DictConfig):
        return
    key = "hydra.sweeper.sampler.search_space"
    if set(map(str, grid)) != set(space):
        raise ConfigError(
            f"{key} has {_listed(map(str, grid))}, and the study's parameters are {_listed(space)}: give the same"
        )
    for name, values in grid.items():
        outside = [value for value in values if not internals.contains(space[str(name)], value)]
        if outside:
            raise ConfigError(f"{key}: {name!s}={outside[0]} is not in the study's search space: give values from it")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def try_pruner(given: Any, direction: Direction) -> None:
    """Let the pruner judge a made-up trial in a study in memory. Raises ConfigError if it cannot."""
    candidate = pruner(given)
    with warnings.catch_warnings(action="ignore"):
        study = optuna.create_study(direction=direction, pruner=candidate, sampler=optuna.samplers.RandomSampler(0))
        try:
            for is_finished in (True, True, False):
                trial = study.ask()
                for step in range(_REPORTS):
                    trial.report(0.5 + step / 100, step)
                    trial.should_prune()
                if is_finished:
                    study.tell(trial, 0.5, TrialState.COMPLETE)
        except Exception as error:
            raise _refused("pruner", given, error, "optuna.pruners.MedianPruner") from error
