"""Samplers and pruners of a study: made from the configuration, and tried before the first trial."""

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
from fitnets.sweeper.storage import Direction
from fitnets.sweeper.trials import Space, in_one_line

_DRAWS = 20
_STARTUP = 10
"""Most samplers draw at random until so many trials have ended."""
_MOST_STARTUP = 200
_REPORTS = 12
"""intermediate values of a trial that a pruner is tried on"""


class WithinBudgets(optuna.samplers.TPESampler):
    """Optuna's TPE without proposals that are known to be over budget. Costs are known before training, so that such a
    proposal is drawn again, a few times at most. The random proposals at the start are taken as they come."""

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


# --- made from the configuration ---


def sampler(given: Any, shift: int = 0) -> BaseSampler:
    """The sampler of `hydra.sweeper.sampler`. shift: is added to its seed. Raises ConfigError if it cannot be made."""
    if isinstance(given, DictConfig) and isinstance(given.get("seed"), int):
        given = given.copy()
        given.seed += shift
    made = _made("sampler", given, "optuna.samplers.TPESampler")
    if not isinstance(made, BaseSampler):
        raise _refused("sampler", given, f"{type(made).__name__} is no sampler", "optuna.samplers.TPESampler")
    return made


def pruner(given: Any) -> BasePruner:
    """The pruner of `hydra.sweeper.pruner`. Raises ConfigError if it cannot be made."""
    made = _made("pruner", given, "optuna.pruners.MedianPruner")
    if not isinstance(made, BasePruner):
        raise _refused("pruner", given, f"{type(made).__name__} is no pruner", "optuna.pruners.MedianPruner")
    return made


Kind = Literal["sampler", "pruner"]


def _made(kind: Kind, given: Any, example: str) -> Any:
    if not isinstance(given, DictConfig) or "_target_" not in given:
        raise _refused(kind, given, "no class is named", example)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Optuna calls experimental
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
        reason = in_one_line(reason)
    return ConfigError(f"hydra.sweeper.{kind}={name}: {reason.rstrip('.')}: {way_out}")


# --- tried before the first trial ---


def try_sampler(given: Any, space: Space, directions: list[Direction]) -> None:
    """Let the sampler propose points of the space in a study in memory. Raises ConfigError if it cannot."""
    tried = sampler(given)
    _check_grid(given, space)
    startup = given.get("n_startup_trials")
    count = min(_MOST_STARTUP, startup if isinstance(startup, int) else _STARTUP)
    with warnings.catch_warnings(action="ignore"):
        study = optuna.create_study(directions=directions, sampler=tried)
        random = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(0))
        values = [0.5] * len(directions)
        try:
            study.ask(space)
            for number in range(count):  # samplers that count trials begin to model
                params = random.ask(space).params
                spread = [value + number / 1000 for value in values]
                study.add_trial(optuna.create_trial(params=params, distributions=space, values=spread))
            trial = study.ask(space)
            _tell(study, trial, values)
            study.ask(space)
        except Exception as error:
            raise _refused("sampler", given, error, "optuna.samplers.TPESampler") from error


def _tell(study: optuna.Study, trial: optuna.Trial, values: list[float]) -> None:
    try:
        study.tell(trial, values)
    except RuntimeError as error:  # samplers of grids stop a Study.optimize, which there is not
        if "Study.stop" not in str(error):
            raise


def _check_grid(given: DictConfig, space: Space) -> None:
    """Raise ConfigError if a `search_space` of the sampler is not part of the study's."""
    grid = given.get("search_space")
    if not isinstance(grid, DictConfig):
        return
    key = "hydra.sweeper.sampler.search_space"
    if set(map(str, grid)) != set(space):
        theirs = _listed(map(str, grid))
        raise ConfigError(f"{key} has {theirs}, and the study's parameters are {_listed(space)}: give the same")
    for name, values in grid.items():
        outside = [value for value in values if not contains(space[str(name)], value)]
        if outside:
            raise ConfigError(f"{key}: {name!s}={outside[0]} is not in the study's search space: give values that are")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def try_pruner(given: Any, direction: Direction) -> None:
    """Let the pruner look at a made-up trial in a study in memory. Raises ConfigError if it cannot."""
    tried = pruner(given)
    with warnings.catch_warnings(action="ignore"):
        study = optuna.create_study(direction=direction, pruner=tried, sampler=optuna.samplers.RandomSampler(0))
        try:
            for ended in (True, True, False):
                trial = study.ask()
                for step in range(_REPORTS):
                    trial.report(0.5 + step / 100, step)
                    trial.should_prune()
                if ended:
                    study.tell(trial, 0.5, TrialState.COMPLETE)
        except Exception as error:
            raise _refused("pruner", given, error, "optuna.pruners.MedianPruner") from error
