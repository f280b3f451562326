"""The trials that no other one beats: found on validation, then evaluated on test, shown and written down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fitnets.config import Tracker, Wandb
from fitnets.console.quantities import plural
from fitnets.console.terminal import Terminal, measure
from fitnets.sweeper import trials
from fitnets.tracking import wandb_mirror

Launch = Callable[..., dict[str, Any]]
"""Runs one job: takes the trial's number, its parameters and further overrides, returns the job's measures."""
_RANKED = 10


def members(study: optuna.Study) -> list[FrozenTrial]:
    """Of several objectives the Pareto front, in the order of the last one; of one the best trial."""
    finished = _finished(study)
    if len(study.directions) == 1:
        return _ranked(study, finished)[:1]
    first = {trial.user_attrs.get("duplicate_of", trial.number) for trial in study.best_trials}
    return sorted((trial for trial in finished if trial.number in first), key=lambda trial: trial.values[-1])


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    """Without repetitions."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in complete if "closed" not in trial.user_attrs]


def _ranked(study: optuna.Study, finished: list[FrozenTrial]) -> list[FrozenTrial]:
    """The best one first; of equals the earlier."""
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    return sorted(finished, key=lambda trial: sign * trial.values[0])


def conclude(study: optuna.Study, launch: Launch, directory: Path, tracker: Tracker, terminal: Terminal) -> None:
    """Evaluate the front's members on test (nothing is trained), show them, write `front.json`, and tell W&B. With one
    objective the next best follow, without test."""
    from fitnets.store import files, layout

    known = study.get_trials(deepcopy=False)
    failed = [trial for trial in trials.counted(known) if trial.state == TrialState.FAIL]
    for trial in failed:
        terminal.say(f"trial {trial.number} failed: {trials.reason(trial)}")
    found = members(study)
    if not found:
        terminal.say(f"study {study.study_name}: no trial has finished")
        return
    rows = [_on_test(trial, launch, terminal) for trial in found]
    files.write_json(directory / layout.FRONT, {"study": study.study_name, "front": rows})
    if len(study.directions) == 1:
        rows += [_row(trial, trial.user_attrs) for trial in _ranked(study, _finished(study))[1:_RANKED]]
    names = [*(study.metric_names or []), "test_accuracy"]
    header = ["trial", *(name.rsplit(".", 1)[-1] for name in found[0].params), *names, "run"]
    closed = sum("closed" in trial.user_attrs for trial in known)
    title = (
        f"study {study.study_name}: {'best' if len(study.directions) == 1 else f'front of {len(found)}'} among "
        f"{plural(len(trials.counted(known)), 'trial')}, chosen on validation, then evaluated on test\n"
        f"{plural(len(failed), 'trial')} failed; {closed} more were over budget or repeated"
    )
    terminal.table(title, header, [_shown(row, names) for row in rows])
    terminal.say(f"front in {directory / layout.FRONT}")
    if not wandb_mirror.is_on(tracker):
        return
    try:
        _mirror(study, rows, directory, tracker, terminal)
    except Exception as error:  # a mirror ends no study
        terminal.say(f"the front is not in W&B: {trials.in_one_line(error)}")


def _mirror(
    study: optuna.Study, rows: list[dict[str, Any]], directory: Path, tracker: Wandb, terminal: Terminal
) -> None:
    """One W&B run a front: not another one for every worker that sees it."""
    from fitnets.store import files, layout, locks, ownership

    place = directory / layout.WANDB
    told = {"front": [[row["trial"], *row["runs"]] for row in rows]}
    with locks.locked(place, "the study's W&B run", terminal.say):
        if (place / layout.MIRRORED_FRONT).exists() and files.read_json(place / layout.MIRRORED_FRONT) == told:
            return
        if ownership.is_mirrored_front(place):  # the front of before; a user may have a folder of that name there
            locks.remove(place)
        objectives = study.metric_names or []
        axes = (objectives[-1] if len(objectives) > 1 else "trial", objectives[0])
        table = _as_table(rows, objectives)
        wandb_mirror.log_front(tracker, directory, study.study_name, table=table, axes=axes, say=terminal.say)
        files.write_json(place / layout.MIRRORED_FRONT, told)


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
    """result: what its job gave."""
    unshown = ("excess", "worker", "place", "seconds", "retry_of", "deaths", "stopped")
    return {"trial": trial.number, "params": trial.params, **{k: v for k, v in result.items() if k not in unshown}}


def _shown(row: dict[str, Any], names: list[str]) -> list[str]:
    params = [str(value) for value in row["params"].values()]
    return [str(row["trial"]), *params, *(_with_spread(name, row) for name in names), " ".join(row["runs"])]


def _with_spread(name: str, row: dict[str, Any]) -> str:
    if name not in row:
        return "-"
    spread = row.get(f"spread_{name}")
    return measure(name, row[name]) + (f" ± {measure(name, spread)}" if spread else "")
