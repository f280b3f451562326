"""Reads the studies of a store without changing them: `of_store` returns their trials, or why they cannot be read."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fitnets.config.measures import NAMES, TEST_ACCURACY
from fitnets.errors import ConfigError, without_passwords
from fitnets.sweeper import address, storage, trials
from fitnets.sweeper.storage import Direction

_EXCLUDED = {"infeasible": "over budget", "duplicate": "repeated"}
_STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial of a study.

    status: finished, pruned, failed, running, left by its worker, waiting, over budget, repeated, tried again, surplus
        or stillborn; trials with one of the last five do not count
    error: why the trial failed, or None
    measures: means over the seeds, and their standard deviations as `spread_...`
    runs: hashes of the trial's runs
    seconds: duration of the job
    """

    number: int
    status: str
    error: str | None
    params: dict[str, Any]
    measures: dict[str, float]
    runs: list[str]
    started: datetime | None
    ended: datetime | None
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One study.

    objectives: direction of each measure
    error: why the study could not be read, or None
    """

    name: str
    objectives: dict[str, Direction] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    error: str | None = None
    study: optuna.Study | None = None
    """a copy in memory with the finished trials alone, duplicates left out"""


def of_store(root: Path) -> list[History]:
    """The studies of a store, also those with a name like `a/b`, which earlier versions allowed."""
    return [_read(record) for record in sorted(root.glob("sweeps/**/study.json"))]


def _read(record: Path) -> History:
    try:
        with warnings.catch_warnings(action="ignore"):  # Optuna warns of its experimental classes
            return _load(record)
    except Exception as error:  # one broken file, lost database or foreign trial must not hide the other studies
        message = str(error) if isinstance(error, ConfigError) else f"{record}: {trials.in_one_line(error)}"
        return History(name=record.parent.name, error=without_passwords(message))


def _load(record: Path) -> History:
    name, storage_address = address.read(record)
    study = storage.look_up(storage_address, name)
    directions = [direction.name.lower() for direction in study.directions]
    return History(
        name=name,
        objectives=dict(zip(study.metric_names or [], directions, strict=False)),  # type: ignore[arg-type]
        trials=list(_trials(study.get_trials(deepcopy=False))),
        study=_finished(study),
    )


def _finished(study: optuna.Study) -> optuna.Study:
    copy = optuna.create_study(directions=study.directions)
    copy.add_trials([trial for trial in study.get_trials(deepcopy=False) if _status(trial, set()) == "finished"])
    return copy


def _trials(all_trials: list[FrozenTrial]) -> Iterator[Trial]:
    counted = {trial.number for trial in trials.counted(all_trials)}
    retried = {trial.number for trial in all_trials if trials.excluded_because(trial) is None} - counted
    for trial in all_trials:
        attributes = trial.user_attrs
        status = _status(trial, retried)
        yield Trial(
            number=trial.number,
            status=status,
            error=trials.reason(trial) if status == "failed" else None,
            params=trial.params,
            measures={k: v for k, v in attributes.items() if k.removeprefix("spread_") in (*NAMES, TEST_ACCURACY)},
            runs=attributes.get("runs", []),
            started=trial.datetime_start,
            ended=trial.datetime_complete,
            seconds=attributes.get("seconds"),
        )


def _status(trial: FrozenTrial, retried: set[int]) -> str:
    because = trials.excluded_because(trial)
    if because is not None:
        return _EXCLUDED.get(because, because)
    if trial.number in retried:
        return "tried again"
    if trials.is_abandoned(trial):
        return "left by its worker"
    return _STATES.get(trial.state, trial.state.name.lower())


def importances(history: History) -> dict[str, dict[str, float]]:
    """Compute how much each parameter matters for each objective, in shares of 1 (PED-ANOVA, Watanabe et al., 2023).

    Objectives whose importances cannot be computed are left out. A few dozen trials are too few to rely on.
    """
    assert history.study is not None
    by_objective = {}
    for index, (objective, direction) in enumerate(history.objectives.items()):

        def cost(trial: FrozenTrial, index: int = index, sign: int = -1 if direction == "maximize" else 1) -> float:
            return sign * float(trial.values[index])

        with warnings.catch_warnings(action="ignore"):  # Optuna warns of the direction; `cost` is always minimised
            try:
                by_objective[objective] = optuna.importance.get_param_importances(history.study, target=cost)
            except (ValueError, RuntimeError):  # no parameter has two values
                continue
    return {objective: shares for objective, shares in by_objective.items() if shares}
