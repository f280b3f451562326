"""The studies of a store, for those who only look: `of_store` reads their trials, and says why where it cannot."""

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

_CLOSED = {"infeasible": "over budget", "duplicate": "repeated"}
_STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial of a study.

    status: finished, pruned, failed, running, left by its worker, waiting, over budget, repeated, tried again, surplus
        or stillborn; the last five do not count
    measures: means over the seeds, and `spread_...`
    runs: hashes
    seconds: of the job"""

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
    """A study. error: why it could not be read."""

    name: str
    objectives: dict[str, Direction] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    error: str | None = None
    study: optuna.Study | None = None
    """the trials that are finished, each once"""


def of_store(root: Path) -> list[History]:
    """The studies of all `sweeps/**/study.json`: earlier versions took a name like `a/b`."""
    return [_read(record) for record in sorted(root.glob("sweeps/**/study.json"))]


def _read(record: Path) -> History:
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Optuna calls experimental
            return _told(record)
    except Exception as error:  # a torn file, a data base that is away, another version's trials: the others are read
        told = str(error) if isinstance(error, ConfigError) else f"{record}: {trials.in_one_line(error)}"
        return History(name=record.parent.name, error=without_passwords(told))


def _told(record: Path) -> History:
    name, place = address.read(record)
    found = storage.look_up(place, name)
    directions = [direction.name.lower() for direction in found.directions]
    return History(
        name=name,
        objectives=dict(zip(found.metric_names or [], directions, strict=False)),  # type: ignore[arg-type]
        trials=list(_trials(found.get_trials(deepcopy=False))),
        study=_finished(found),
    )


def _finished(found: optuna.Study) -> optuna.Study:
    copy = optuna.create_study(directions=found.directions)
    copy.add_trials([trial for trial in found.get_trials(deepcopy=False) if _status(trial, set()) == "finished"])
    return copy


def _trials(known: list[FrozenTrial]) -> Iterator[Trial]:
    kept = {trial.number for trial in trials.counted(known)}
    replaced = {trial.number for trial in known if "closed" not in trial.user_attrs} - kept
    for trial in known:
        told = trial.user_attrs
        status = _status(trial, replaced)
        yield Trial(
            number=trial.number,
            status=status,
            error=trials.reason(trial) if status == "failed" else None,
            params=trial.params,
            measures={key: told[key] for key in told if key.removeprefix("spread_") in (*NAMES, TEST_ACCURACY)},
            runs=told.get("runs", []),
            started=trial.datetime_start,
            ended=trial.datetime_complete,
            seconds=told.get("seconds"),
        )


def _status(trial: FrozenTrial, replaced: set[int]) -> str:
    closed = trial.user_attrs.get("closed")
    if closed is not None:
        return str(_CLOSED.get(closed, closed))
    if trial.number in replaced:
        return "tried again"
    if trials.is_left(trial):
        return "left by its worker"
    return _STATES.get(trial.state, trial.state.name.lower())


def importances(history: History) -> dict[str, dict[str, float]]:
    """Of each objective, by parameter: its share in what makes the good trials good (PED-ANOVA, Watanabe et al., 2023).
    A few dozen trials tell nothing."""
    assert history.study is not None
    found = {}
    for index, (objective, direction) in enumerate(history.objectives.items()):

        def cost(trial: FrozenTrial, index: int = index, sign: int = -1 if direction == "maximize" else 1) -> float:
            return sign * float(trial.values[index])

        with warnings.catch_warnings(action="ignore"):  # of the direction, which `cost` sees to
            try:
                found[objective] = optuna.importance.get_param_importances(history.study, target=cost)
            except (ValueError, RuntimeError):  # one value of every parameter
                continue
    return {objective: shares for objective, shares in found.items() if shares}
