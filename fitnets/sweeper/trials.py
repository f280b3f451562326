"""The trials of a study: which count, which repeat each other, and whose worker died.

All of this is in each trial's state and user attributes, so that every worker comes to the same conclusions:

| attribute | meaning |
|---|---|
| `worker`, `place` | the worker that has the trial, as `host:pid:id`, and the path of that worker's lock |
| `closed` | why the trial does not count, see below |
| `duplicate_of`, `retry_of` | number of the trial that this one repeats, or retries after its worker died |
| `deaths` | how many workers died at the trials that this one retries |
| `stopped` | the worker was stopped by a signal or an error and gave the trial back |
| `reason` | why the trial failed. A FAIL without a reason is a trial whose worker died or was stopped |

| `closed` | the trial does not count because |
|---|---|
| `infeasible` | it is over budget |
| `duplicate` | its parameters repeat an earlier trial's |
| `surplus` | the study has enough trials without it |
| `stillborn` | its worker died, or its sampler failed, before the trial had a worker's name |
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
from fitnets.sweeper import internals

Space = dict[str, BaseDistribution]
_MAX_DEATHS = 2
"""workers that may die at the same parameters before the trial counts as failed"""


def excluded_because(trial: FrozenTrial) -> str | None:
    """Why the trial does not count; None if it counts or is retried."""
    reason: str | None = trial.user_attrs.get("closed")
    return reason


def counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that make up `n_trials`: all but the excluded ones and those that another trial retries."""
    retried = {trial.user_attrs.get("retry_of") for trial in trials if excluded_because(trial) != "stillborn"}
    return [trial for trial in trials if excluded_because(trial) is None and trial.number not in retried]


def is_over_quota(number: int, trials: list[FrozenTrial], n_trials: int) -> bool:
    """Return whether the study already has `n_trials` counted trials with smaller numbers."""
    return sum(trial.number < number for trial in counted(trials)) >= n_trials


def earlier_duplicate(trial: FrozenTrial, trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The first earlier trial with the same parameters. A retry does not duplicate the trial that it retries."""
    counted_numbers = {other.number for other in counted(trials)}
    for other in trials:
        is_kept = other.number in counted_numbers or excluded_because(other) == "infeasible"
        if other.number < trial.number and is_kept and params_of(other) == trial.params:
            return other
    return None


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """The trial's parameters, also while it waits in the queue."""
    return trial.params or internals.queued_params(trial)


# --- trials whose worker died ---


def is_unclaimed(trial: FrozenTrial) -> bool:
    """Return whether a running trial has no worker's name yet. Its parameters may be incomplete."""
    return trial.state == TrialState.RUNNING and "worker" not in trial.user_attrs


def is_abandoned(trial: FrozenTrial, this_worker: str | None = None) -> bool:
    """Return whether the worker of a running trial is dead, as far as this host can see.

    this_worker: name of the calling worker, which is alive
    """
    worker = trial.user_attrs.get("worker")
    if trial.state != TrialState.RUNNING or worker is None or worker == this_worker:
        return False
    lock_path = Path(trial.user_attrs["place"])
    if layout.lock_file(lock_path).exists():
        return not locks.is_locked(lock_path)
    return bool(worker.split(":")[0] == socket.gethostname())  # another host's folder may not be visible here


def to_retry(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Trials whose worker died or was stopped, and that no other trial retries yet."""
    return [
        trial
        for trial in counted(trials)
        if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs and deaths(trial) < _MAX_DEATHS
    ]


def deaths(trial: FrozenTrial) -> int:
    """Count the workers that died at a trial that failed without a reason, and at the trials that it retries."""
    return int(trial.user_attrs.get("deaths", 0)) + ("stopped" not in trial.user_attrs)


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed."""
    return str(trial.user_attrs.get("reason", "its worker died, and so did the worker that retried it"))


def in_one_line(error: BaseException) -> str:
    """The first line of an error, with the error's type unless the message is meant for the user."""
    lines = str(error).strip().splitlines()
    if isinstance(error, UserError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


# --- how far the study is ---


def is_exhausted(space: Space, trials: list[FrozenTrial]) -> bool:
    """Return whether every point of the space was proposed."""
    total = size(space)
    proposed = {tuple(sorted(trial.params.items())) for trial in _tried(trials) if len(trial.params) == len(space)}
    return total is not None and len(proposed) >= total


def untried_over_quota(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Trials over quota whose parameters no trial has tried: the first to run if `n_trials` is raised."""
    tried_params = [trial.params for trial in _tried(trials)]
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    over_quota = [trial for trial in trials if excluded_because(trial) == "surplus" and trial.number not in retried]
    return [trial for trial in over_quota if trial.params not in tried_params]


def _tried(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if excluded_because(trial) not in ("surplus", "stillborn")]


def size(space: Space) -> int | None:
    """The number of points in the space; None if it has no bound."""
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


def seconds_left(trials: list[FrozenTrial], n_trials: int, this_worker: str) -> float | None:
    """Estimated seconds until the study is complete; None before the first trial has ended.

    The workers of running trials and this worker share what is left.
    """
    durations = [trial.user_attrs["seconds"] for trial in trials if "seconds" in trial.user_attrs]
    if not durations:
        return None
    workers = {trial.user_attrs.get("worker") for trial in trials if trial.state == TrialState.RUNNING}
    unfinished = n_trials - sum(trial.state.is_finished() for trial in counted(trials))
    return max(0, unfinished) * fmean(durations) / len(workers | {this_worker})
