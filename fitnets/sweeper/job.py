"""One job of a sweep: the runs of a trial, one for each seed, and what they come to."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from fitnets import paths
from fitnets.composition import sweeper_targets
from fitnets.config import Config, NoTeacher, Wandb, measures
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError, PrunedError, without_passwords
from fitnets.experiment import evaluation, pipeline
from fitnets.models import costs
from fitnets.planning import identity
from fitnets.store.layout import StoreLayout
from fitnets.tracking import wandb_environment

Watch = Callable[[dict[str, Any]], None]


def run(config: Config) -> Any:
    """What `python run.py` hands back: `returns` of the configuration; in a study or a grid, and without `returns`, all
    measures.

    All: the mean of each measure over the seeds, `spread_<measure>` (standard deviation) of several, `runs` (their
    hashes), and `excess`, by how much each bounded cost is over its budget. Over budget nothing is trained: in a study
    costs and `excess` alone, elsewhere a ConfigError."""
    study = _study()
    known, excess = bounded(config)
    over = [name for name, value in excess.items() if value > 0]
    if over and study is None:
        name = over[0]
        raise ConfigError(f"{name}={known[name]:g} is over sweep.budgets.{name}={config.sweep.budgets[name]:g}")
    if over:
        return {**known, "excess": excess}
    results = _results(config, study)
    found = _summary(results)
    if config.returns is None or _is_ours():
        return found | {"excess": excess, "runs": [result["hashes"]["run"] for result in results]}
    return found[config.returns] if isinstance(config.returns, str) else [found[name] for name in config.returns]


def _results(config: Config, study: DictConfig | None) -> list[dict[str, Any]]:
    """Of the runs of all seeds. In a study a stage that was begun on another machine is begun anew. A latency that is
    asked for is measured now: a run that is found was measured when and where it was made."""
    if study is not None:
        config = _of_study(config, study)
    asked = [*(study.objectives if study is not None else []), *_listed(config.returns)]
    for name in asked:
        if isinstance(config.teacher, NoTeacher) and name in measures.OF_TEACHER:
            raise ConfigError(f"{name} compares with a teacher, and teacher=none: give another measure, or a teacher")
    results = []
    for number in range(config.sweep.seeds):
        on_epoch = _reporter(study) if study is not None and number == 0 else None
        terminal = Terminal(quiet=study is not None)
        seed = config.seed + number
        seeded = replace(config, seed=seed)
        result = pipeline.run(seeded, on_epoch=on_epoch, terminal=terminal, notes=_notes(config, seed))
        if any(name.startswith("latency") for name in asked):
            latency = evaluation.latency(StoreLayout(config.root).run(result["hashes"]["run"]), config)
            result = {**result, "timing": {**result["timing"], "latency": {"student": latency}}}
        results.append(result)
    return results


def _notes(config: Config, seed: int) -> dict[str, Any]:
    """`command`: what does this run and nothing else, in `folder`; `trial`: who wanted it first."""
    if not HydraConfig.initialized():  # no command line asked for it
        return {}
    study = _study()
    trial = {} if study is None else {"trial": f"{study.study_name} #{HydraConfig.get().job.num}"}
    return {"command": _command(config, seed), "folder": HydraConfig.get().runtime.cwd, **trial}


def _command(config: Config, seed: int) -> list[str]:
    hydra = HydraConfig.get()
    words = paths.command(Path(hydra.runtime.cwd))
    if hydra.job.config_name not in (None, "config"):
        words += ["--config-name", hydra.job.config_name]
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            words += ["--config-dir", source.path]
    words += [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]
    words += [without_passwords(word) for word in _overrides(hydra.overrides.task) if not word.startswith("rerun=")]
    if config.sweep.seeds > 1:
        words = [word for word in words if not word.startswith(("seed=", "sweep.seeds=", "+sweep.seeds="))]
        words += [f"seed={seed}", "sweep.seeds=1", *_other_seeds(config)]
    return [*words, "hydra.mode=RUN"] if hydra.mode == RunMode.MULTIRUN else words


def _overrides(task: list[str]) -> list[str]:
    """The job's overrides with the values of their interpolations. One with a literal `${` stays as it was typed."""
    raw: Any = OmegaConf.to_container(cast(ListConfig, task), resolve=False)
    return [typed if "\\${" in typed else resolved for typed, resolved in zip(raw, task, strict=True)]


def _other_seeds(config: Config) -> list[str]:
    """In case they are taken from `seed`: they do not move with it."""
    seed = identity.teacher_seed(config)
    teacher = [] if seed is None else [f"teacher.seed={seed}"]
    return [*teacher, f"dataset.seed={config.dataset.seed}"]


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def over_budget(config: Config) -> bool:
    return any(value > 0 for value in bounded(config)[1].values())


def bounded(config: Config) -> tuple[dict[str, float], dict[str, float]]:
    """(the costs, by how much each bounded one is over its budget); both empty without budgets."""
    if not config.sweep.budgets:
        return {}, {}
    found = measures.of_costs(**costs.sides(config))
    return found, {name: found[name] - bound for name, bound in config.sweep.budgets.items()}


def _summary(results: list[dict[str, Any]]) -> dict[str, float]:
    of_seeds = [measures.of_result(result) for result in results]
    names = [name for name in of_seeds[0] if all(name in measured for measured in of_seeds)]
    found = {name: fmean(measured[name] for measured in of_seeds) for name in names}
    if len(results) > 1:
        found |= {f"spread_{name}": stdev(measured[name] for measured in of_seeds) for name in names}
    return found


# --- inside a study ---


def _is_ours() -> bool:
    """Whether the job is one of our sweepers, which take all measures."""
    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return is_sweep and HydraConfig.get().sweeper.get("_target_") in (*sweeper_targets.STUDY, *sweeper_targets.GRID)


def _study() -> DictConfig | None:
    """The settings of the study that this job is a trial of, if it is."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    sweeper: DictConfig = HydraConfig.get().sweeper
    return sweeper if sweeper.get("_target_") in sweeper_targets.STUDY else None


def _of_study(config: Config, study: DictConfig) -> Config:
    """Its W&B runs are a group, each tagged with its trial's number."""
    config = replace(config, engine=replace(config.engine, elsewhere="begin_anew"))
    if not isinstance(config.tracker, Wandb):
        return config
    tracker = wandb_environment.settled(replace(config.tracker, group=config.tracker.group or study.study_name))
    tags = [*tracker.tags, f"trial-{HydraConfig.get().job.num}"]
    return replace(config, tracker=replace(tracker, tags=tags))


def _reporter(settings: DictConfig) -> Watch | None:
    """Tells the study of each of the student's epochs, and raises PrunedError when its pruner has seen enough."""
    if settings.pruner is None:
        return None
    from optuna.trial import Trial

    from fitnets.sweeper import address, sampling, storage, study_settings

    (objective,) = settings.objectives
    pruner = sampling.pruner(settings.pruner)
    place = address.absolute(settings.storage, Path(HydraConfig.get().runtime.cwd))
    study = storage.open_study(place, settings.study_name, study_settings.objectives(settings), pruner=pruner)
    number = HydraConfig.get().job.num
    trial = Trial(study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number))

    def on_epoch(row: dict[str, Any]) -> None:
        if row["stage"] != "student":
            return
        value = measures.PRUNABLE[objective](row)
        if math.isfinite(value):
            trial.report(value, row["epoch"])
        if trial.should_prune():
            raise PrunedError(f"pruned after epoch {row['epoch'] + 1} of the student's stage")

    return on_epoch
