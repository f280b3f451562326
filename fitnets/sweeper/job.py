"""One job: it runs the configuration once for each seed and returns the measures."""

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
from fitnets.tracking import wandb_environment

OnEpoch = Callable[[dict[str, Any]], None]
"""Receives the row of every epoch, as in `metrics.jsonl`."""


def run(config: Config) -> Any:
    """Run the configuration for each seed, and return its measures to Hydra's sweeper.

    A study and a grid get all measures. Other sweepers get those named by `return_measures`, or all if that is null.
    All measures are a dictionary: the mean of each measure over the seeds; `spread_<measure>`, its standard deviation
    over several seeds; `runs`, the hashes of the runs; and `excess`, each bounded cost minus its budget.

    A job over budget is not trained: a study gets its costs and `excess` alone, and others get a ConfigError.
    """
    study = _study()
    cost, excess = bounded(config)
    over = [name for name, value in excess.items() if value > 0]
    if over and study is None:
        name = over[0]
        raise ConfigError(f"{name}={cost[name]:g} is over sweep.budgets.{name}={config.sweep.budgets[name]:g}")
    if over:
        return {**cost, "excess": excess}
    results = _results(config, study)
    summary = _summary(results)
    if config.return_measures is None or _takes_all_measures():
        return summary | {"excess": excess, "runs": [result["hashes"]["run"] for result in results]}
    names = config.return_measures
    return summary[names] if isinstance(names, str) else [summary[name] for name in names]


def _results(config: Config, study: DictConfig | None) -> list[dict[str, Any]]:
    """The `result.json` of each seed's run. In a study a stage that was started on another machine starts over.

    A latency that is an objective or in `return_measures` is measured now, because a stored latency may be that of
    another time or machine.
    """
    if study is not None:
        config = _of_study(config, study)
    wanted = [*(study.objectives if study is not None else []), *_listed(config.return_measures)]
    for name in wanted:
        if isinstance(config.teacher, NoTeacher) and name in measures.NEED_TEACHER:
            raise ConfigError(f"{name} compares with a teacher, and teacher=none: give another measure, or a teacher")
    results = []
    for number in range(config.sweep.seeds):
        on_epoch = _reporter(study) if study is not None and number == 0 else None
        terminal = Terminal(quiet=study is not None)
        seed = config.seed + number
        seeded = replace(config, seed=seed)
        result = pipeline.run(seeded, on_epoch=on_epoch, terminal=terminal, notes=_notes(config, seed))
        if any(name in measures.LATENCIES for name in wanted):
            latency = evaluation.latency(config.root / "run" / result["hashes"]["run"], config)
            result = {**result, "timing": {**result["timing"], "latency": {"student": latency}}}
        results.append(result)
    return results


def _notes(config: Config, seed: int) -> dict[str, Any]:
    """Entries for `environment.json`.

    command: the command that does this run alone
    folder: where to start that command
    trial: the study's trial that started the run first
    """
    if not HydraConfig.initialized():  # called from Python, without a command line
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
    """The job's overrides with interpolations resolved. An override with an escaped `${` stays as it was typed."""
    raw: Any = OmegaConf.to_container(cast(ListConfig, task), resolve=False)
    return [typed if "\\${" in typed else resolved for typed, resolved in zip(raw, task, strict=True)]


def _other_seeds(config: Config) -> list[str]:
    """Overrides that fix the seeds of teacher and data, which may be interpolated from the changed `seed`."""
    seed = identity.teacher_seed(config)
    teacher = [] if seed is None else [f"teacher.seed={seed}"]
    return [*teacher, f"dataset.seed={config.dataset.seed}"]


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def over_budget(config: Config) -> bool:
    return any(value > 0 for value in bounded(config)[1].values())


def bounded(config: Config) -> tuple[dict[str, float], dict[str, float]]:
    """(cost by name, bounded cost minus its budget by name); both are empty without budgets."""
    if not config.sweep.budgets:
        return {}, {}
    cost = measures.of_costs(**costs.costs_by_network(config))
    return cost, {name: cost[name] - bound for name, bound in config.sweep.budgets.items()}


def _summary(results: list[dict[str, Any]]) -> dict[str, float]:
    of_seeds = [measures.of_result(result) for result in results]
    names = [name for name in of_seeds[0] if all(name in measured for measured in of_seeds)]
    summary = {name: fmean(measured[name] for measured in of_seeds) for name in names}
    if len(results) > 1:
        summary |= {f"spread_{name}": stdev(measured[name] for measured in of_seeds) for name in names}
    return summary


# --- inside a study ---


def _takes_all_measures() -> bool:
    """Return whether the sweeper that started the job is a study or a grid of this project."""
    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return is_sweep and HydraConfig.get().sweeper.get("_target_") in (*sweeper_targets.STUDY, *sweeper_targets.GRID)


def _study() -> DictConfig | None:
    """The keys of `hydra.sweeper` if this job is a trial of a study, else None."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    sweeper: DictConfig = HydraConfig.get().sweeper
    return sweeper if sweeper.get("_target_") in sweeper_targets.STUDY else None


def _of_study(config: Config, study: DictConfig) -> Config:
    """The configuration of a trial: its W&B runs form a group, and each is tagged with the trial's number."""
    config = replace(config, engine=replace(config.engine, on_other_machine="restart"))
    if not isinstance(config.tracker, Wandb):
        return config
    tracker = wandb_environment.fill_in(replace(config.tracker, group=config.tracker.group or study.study_name))
    tags = [*tracker.tags, f"trial-{HydraConfig.get().job.num}"]
    return replace(config, tracker=replace(tracker, tags=tags))


def _reporter(settings: DictConfig) -> OnEpoch | None:
    """A callback that reports each epoch of the student's stage to the study; None without a pruner.

    The callback raises PrunedError when the pruner ends the trial.
    """
    if settings.pruner is None:
        return None
    from fitnets.sweeper import address, internals, sampling, storage, study_settings

    (objective,) = settings.objectives
    pruner = sampling.pruner(settings.pruner)
    storage_address = address.absolute(settings.storage, Path(HydraConfig.get().runtime.cwd))
    study = storage.open_study(storage_address, settings.study_name, study_settings.objectives(settings), pruner=pruner)
    trial = internals.trial_handle(study, HydraConfig.get().job.num)

    def on_epoch(row: dict[str, Any]) -> None:
        if row["stage"] != "student":
            return
        value = measures.PRUNABLE[objective](row)
        if math.isfinite(value):
            trial.report(value, row["epoch"])
        if trial.should_prune():
            raise PrunedError(f"pruned after epoch {row['epoch'] + 1} of the student's stage")

    return on_epoch
