"""The end of a study: its best trials are chosen on validation, evaluated on test, shown and stored in `front.json`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fitnets.config import Tracker, Wandb
from fitnets.console.quantities import plural
from fitnets.console.terminal import Terminal
from fitnets.store import files, layout, locks, ownership
from fitnets.sweeper import trials
from fitnets.sweeper.units import with_unit
from fitnets.tracking import wandb_mirror

Launch = Callable[..., dict[str, Any]]
"""Runs one job: takes the trial's number, its parameters and further overrides, and returns the job's measures."""
_RANKED = 10
"""trials in the table of a study with one objective"""


def members(study: optuna.Study) -> list[FrozenTrial]:
    """The Pareto front, sorted by the last objective. With one objective it is the best trial alone."""
    finished = _finished(study)
    if len(study.directions) == 1:
        return _ranked(study, finished)[:1]
    best = {trial.user_attrs.get("duplicate_of", trial.number) for trial in study.best_trials}
    return sorted((trial for trial in finished if trial.number in best), key=lambda trial: trial.values[-1])


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    """The complete trials without duplicates."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in complete if trials.excluded_because(trial) is None]


def _ranked(study: optuna.Study, finished: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials sorted from best to worst; of equal trials the earlier comes first."""
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    return sorted(finished, key=lambda trial: sign * trial.values[0])


def conclude(study: optuna.Study, launch: Launch, directory: Path, tracker: Tracker, terminal: Terminal) -> None:
    """Evaluate the front's members on test without training, show them, write `front.json`, and log the front to W&B.

    With one objective the table also shows the next best trials, without test figures.

    directory: folder of the study
    """
    all_trials = study.get_trials(deepcopy=False)
    failed = [trial for trial in trials.counted(all_trials) if trial.state == TrialState.FAIL]
    for trial in failed:
        terminal.say(f"trial {trial.number} failed: {trials.reason(trial)}")
    chosen = members(study)
    if not chosen:
        terminal.say(f"study {study.study_name}: no trial has finished")
        return
    rows = [_on_test(trial, launch, terminal) for trial in chosen]
    files.write_json(directory / "front.json", {"study": study.study_name, "front": rows})
    if len(study.directions) == 1:
        rows += [_row(trial, trial.user_attrs) for trial in _ranked(study, _finished(study))[1:_RANKED]]
    names = [*(study.metric_names or []), "test_accuracy"]
    header = ["trial", *(name.rsplit(".", 1)[-1] for name in chosen[0].params), *names, "run"]
    excluded = sum(trials.excluded_because(trial) is not None for trial in all_trials)
    title = (
        f"study {study.study_name}: {'best' if len(study.directions) == 1 else f'front of {len(chosen)}'} among "
        f"{plural(len(trials.counted(all_trials)), 'trial')}, chosen on validation, then evaluated on test\n"
        f"{plural(len(failed), 'trial')} failed; {excluded} more were over budget or repeated"
    )
    terminal.table(title, header, [_shown(row, names) for row in rows])
    terminal.say(f"front in {directory / layout.FRONT}")
    if not wandb_mirror.is_on(tracker):
        return
    try:
        _mirror(study, rows, directory, tracker, terminal)
    except Exception as error:  # W&B only mirrors the store: its errors must not fail a study
        terminal.say(f"the front is not in W&B: {trials.in_one_line(error)}")


def _mirror(
    study: optuna.Study, rows: list[dict[str, Any]], directory: Path, tracker: Wandb, terminal: Terminal
) -> None:
    """Log the front as one W&B run, unless another worker has logged the same front already."""
    mirror = directory / "wandb"
    logged = {"front": [[row["trial"], *row["runs"]] for row in rows]}
    with locks.locked(mirror, "the study's W&B run", terminal.say):
        if (mirror / "told.json").exists() and files.read_json(mirror / "told.json") == logged:
            return
        if ownership.is_mirrored_front(mirror):  # the previous front, and not a user's folder of the same name
            locks.remove(mirror)
        objectives = study.metric_names or []
        axes = (objectives[-1] if len(objectives) > 1 else "trial", objectives[0])
        table = _as_table(rows, objectives)
        wandb_mirror.log_front(tracker, directory, study.study_name, table=table, axes=axes, say=terminal.say)
        files.write_json(mirror / "told.json", logged)


def _as_table(rows: list[dict[str, Any]], objectives: list[str]) -> tuple[list[str], list[list[Any]]]:
    measures = [*objectives, *(f"spread_{name}" for name in objectives), "test_accuracy"]
    measures = [name for name in measures if any(name in row for row in rows)]
    params = list(rows[0]["params"])
    columns = ["trial", *params, *measures, "runs"]
    return columns, [
        [row["trial"], *row["params"].values(), *(row.get(name) for name in measures), " ".join(row["runs"])]
        for row in rows
    ]


def _on_test(trial: FrozenTrial, launch: Launch, terminal: Terminal) -> dict[str, Any]:
    try:
        return _row(trial, launch(trial.number, trial.params, "test=true", "rerun=false"))
    except (Exception, SystemExit) as error:
        terminal.say(f"trial {trial.number} could not be evaluated on test: {trials.in_one_line(error)}")
        return _row(trial, trial.user_attrs)


def _row(trial: FrozenTrial, result: dict[str, Any]) -> dict[str, Any]:
    """One row of `front.json`. result: measures of the trial's job, or the trial's user attributes."""
    hidden = ("excess", "worker", "place", "seconds", "retry_of", "deaths", "stopped")
    return {"trial": trial.number, "params": trial.params, **{k: v for k, v in result.items() if k not in hidden}}


def _shown(row: dict[str, Any], names: list[str]) -> list[str]:
    params = [str(value) for value in row["params"].values()]
    return [str(row["trial"]), *params, *(_with_spread(name, row) for name in names), " ".join(row["runs"])]


def _with_spread(name: str, row: dict[str, Any]) -> str:
    if name not in row:
        return "-"
    spread = row.get(f"spread_{name}")
    return with_unit(name, row[name]) + (f" ± {with_unit(name, spread)}" if spread else "")
