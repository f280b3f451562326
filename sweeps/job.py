"""One job of a sweep: the runs of a trial, one for each seed, and what they come to."""

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fitnets import costs, experiment, measures
from fitnets.config import Config
from fitnets.options import PrunedError
from fitnets.terminal import Terminal

STUDY = "sweeps.study.StudySweeper"
Watch = Callable[[dict[str, Any]], None]


def run(config: Config) -> Any:
    """What `python run.py` hands back: `returns` of the configuration, or all measures.

    All: the mean of each measure over the seeds, `spread_<measure>` (standard deviation) of several, `runs` (their
    hashes), and `excess`, by how much each bounded cost is over its budget. Over budget nothing is trained: costs and
    `excess` alone."""
    bounded = _bounded(config)
    excess = {name: bounded[name] - bound for name, bound in config.sweep.budgets.items()}
    if any(over > 0 for over in excess.values()):
        return {**bounded, "excess": excess}
    study = _study()
    results = [
        experiment.run(
            replace(config, seed=config.seed + number),
            watch=_reporter(study) if study is not None and number == 0 else None,
            terminal=Terminal(quiet=study is not None),
        )
        for number in range(config.sweep.seeds)
    ]
    found = _summary(results)
    match config.returns:
        case None:
            return found | {"excess": excess, "runs": [result["hashes"]["run"] for result in results]}
        case str(name):
            return found[name]
        case names:
            return [found[name] for name in names]


def _bounded(config: Config) -> dict[str, float]:
    return measures.of_costs(**costs.sides(config)) if config.sweep.budgets else {}


def _summary(results: list[dict[str, Any]]) -> dict[str, float]:
    of_seeds = [measures.of_result(result) for result in results]
    names = [name for name in of_seeds[0] if all(name in one for one in of_seeds)]
    found = {name: fmean(one[name] for one in of_seeds) for name in names}
    if len(results) > 1:
        found |= {f"spread_{name}": stdev(one[name] for one in of_seeds) for name in names}
    return found


# --- inside a study ---


def _study() -> DictConfig | None:
    """The settings of the study that this job is a trial of, if it is."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    sweeper: DictConfig = HydraConfig.get().sweeper
    return sweeper if sweeper.get("_target_") == STUDY else None


def _reporter(settings: DictConfig) -> Watch | None:
    """Tells the study of each of the student's epochs, and raises PrunedError when its pruner has seen enough."""
    if settings.pruner is None:
        return None
    from hydra.utils import instantiate
    from optuna.trial import Trial

    from sweeps import setting, storage

    (objective,) = settings.objectives
    pruner = instantiate(settings.pruner, _execution_whitelist_="optuna.*")
    study = storage.open_study(settings.storage, settings.study_name, setting.objectives(settings), pruner=pruner)
    number = HydraConfig.get().job.num
    trial = Trial(study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number))

    def watch(row: dict[str, Any]) -> None:
        if row["stage"] != "student":
            return
        value = measures.PRUNABLE[objective](row)
        if math.isfinite(value):
            trial.report(value, row["epoch"])
        if trial.should_prune():
            raise PrunedError(f"pruned after epoch {row['epoch'] + 1} of the student's stage")

    return watch
