"""The trials of a study: which of them count, which are the same, whose worker died. What is known is in each trial's
state and user attributes, so that every worker comes to the same conclusions.

| attribute | meaning |
|---|---|
| `worker`, `place` | who works, or worked, at it: `host:pid:id`; where its lock lies |
| `closed` | why it does not count: `infeasible`, `duplicate`, `surplus`, `stillborn` (its worker died too early) |
| `duplicate_of`, `retry_of` | the number of another trial |
| `deaths` | of workers at those that it retries |
| `reason` | why it failed; a FAIL without it is a trial whose worker died, or was `stopped` |
"""

import socket
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from fitnets.errors import UserError
from fitnets.store import layout, locks

Space = dict[str, BaseDistribution]
_DEATHS = 2
"""A trial whose worker died is tried once more"""


def counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those that make up the study's number of trials: not the closed ones, nor those that are tried once more."""
    replaced = {trial.user_attrs.get("retry_of") for trial in trials if trial.user_attrs.get("closed") != "stillborn"}
    return [trial for trial in trials if "closed" not in trial.user_attrs and trial.number not in replaced]


def is_surplus(number: int, trials: list[FrozenTrial], n_trials: int) -> bool:
    """Whether enough trials that count have smaller numbers."""
    return sum(trial.number < number for trial in counted(trials)) >= n_trials


def same_before(trial: FrozenTrial, trials: list[FrozenTrial]) -> FrozenTrial | None:
    """An earlier trial of the same parameters; a retry is no repetition of what it retries."""
    kept = {other.number for other in counted(trials)}
    for other in trials:
        is_kept = other.number in kept or other.user_attrs.get("closed") == "infeasible"
        if other.number < trial.number and is_kept and asked(other) == trial.params:
            return other
    return None


def asked(trial: FrozenTrial) -> dict[str, Any]:
    """Its parameters, also of one that waits."""
    return trial.params or trial.system_attrs.get("fixed_params", {})


# --- those whose worker died ---


def is_unborn(trial: FrozenTrial) -> bool:
    """Running, and nobody has said that it is theirs yet: its parameters may not be known."""
    return trial.state == TrialState.RUNNING and "worker" not in trial.user_attrs


def is_left(trial: FrozenTrial, worker: str | None = None) -> bool:
    """Whether a running trial has lost its worker, as far as can be seen from here.

    worker: name of the process that asks; it is alive"""
    owner = trial.user_attrs.get("worker")
    if trial.state != TrialState.RUNNING or owner is None or owner == worker:
        return False
    place = Path(trial.user_attrs["place"])
    if layout.lock_file(place).exists():
        return not locks.is_locked(place)
    return bool(owner.split(":")[0] == socket.gethostname())  # of other hosts the folder may not be seen here


def to_retry(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those whose workers died or were stopped, that are not tried once more yet."""
    return [
        trial
        for trial in counted(trials)
        if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs and deaths(trial) < _DEATHS
    ]


def deaths(trial: FrozenTrial) -> int:
    """Of workers, at a trial that failed without a reason and at those that it retries."""
    return int(trial.user_attrs.get("deaths", 0)) + ("stopped" not in trial.user_attrs)


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed."""
    return str(trial.user_attrs.get("reason", "its worker died, and once more when it was tried again"))


def in_one_line(error: BaseException) -> str:
    """What went wrong in a job."""
    lines = str(error).strip().splitlines()
    if isinstance(error, UserError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


# --- how far the study is ---


def is_exhausted(space: Space, trials: list[FrozenTrial]) -> bool:
    """Whether every point of the space was proposed."""
    total = size(space)
    kept = [trial for trial in trials if trial.user_attrs.get("closed") not in ("surplus", "stillborn")]
    proposed = {tuple(sorted(trial.params.items())) for trial in kept if len(trial.params) == len(space)}
    return total is not None and len(proposed) >= total


def given_up(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Surplus trials whose points nobody tried: the first to run when the study is made longer."""
    tried = [trial.params for trial in trials if trial.user_attrs.get("closed") not in ("surplus", "stillborn")]
    again = {trial.user_attrs.get("retry_of") for trial in trials}
    surplus = [trial for trial in trials if trial.user_attrs.get("closed") == "surplus" and trial.number not in again]
    return [trial for trial in surplus if trial.params not in tried]


def size(space: Space) -> int | None:
    """The number of different points; None: no bound."""
    sizes = [_size(distribution) for distribution in space.values()]
    return None if None in sizes else prod(count for count in sizes if count is not None)


def _size(distribution: BaseDistribution) -> int | None:
    match distribution:
        case CategoricalDistribution():
            return len(distribution.choices)
        case IntDistribution():
            return (distribution.high - distribution.low) // distribution.step + 1
        case FloatDistribution() if distribution.step is not None:
            return round((distribution.high - distribution.low) / distribution.step) + 1
        case _:
            return None


def seconds_left(trials: list[FrozenTrial], n_trials: int, speaker: str) -> float | None:
    """About how long those who are at it, and who speaks, will take; None before the first trial has ended."""
    durations = [trial.user_attrs["seconds"] for trial in trials if "seconds" in trial.user_attrs]
    if not durations:
        return None
    workers = {trial.user_attrs.get("worker") for trial in trials if trial.state == TrialState.RUNNING}
    unfinished = n_trials - sum(trial.state.is_finished() for trial in counted(trials))
    return max(0, unfinished) * fmean(durations) / len(workers | {speaker})
