"""The studies of a store, each as a tidy table with one row for each trial.

Accuracies and other fractions go from 0 to 1. Latencies are in milliseconds, durations in seconds."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fitnets.console.quantities import plural
from fitnets.errors import NotEnoughError

if TYPE_CHECKING:
    from fitnets.sweeper.history import History, Trial

TRIAL_COLUMNS = {
    "trial": "Int64",
    "status": "string",
    "reason": "string",
    "name": "string",
    "runs": "object",
    "started": "datetime64[us]",
    "ended": "datetime64[us]",
    "seconds": "Float64",
}
"""Dtype of each column that every study has. A column for each parameter and each measure follows.

trial: the trial's number
status: finished, running, failed, over budget and so on; see `fitnets.sweeper.history.Trial`
reason: why the trial failed
name: the parameters in short
runs: hashes of the trial's runs
seconds: duration of the job
"""
ENOUGH_TRIALS = 50
"""Finished trials from which on importances are computed. With fewer, chance can give any parameter any share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study and its trials."""

    name: str
    objectives: dict[str, str]
    """`maximize` or `minimize`, by measure."""
    trials: pd.DataFrame
    """One row for each trial, with the columns of TRIAL_COLUMNS first."""
    importances: dict[str, dict[str, float]]
    """The share of each parameter, by objective; empty with fewer than ENOUGH_TRIALS trials."""
    error: str | None
    """Why the study cannot be read; None if it can."""

    def summary(self) -> pd.DataFrame:
        """The finished trials with their parameters, objectives and runs. Raises NotEnoughError as `check` does."""
        self.check()
        return self.finished()[["trial", "name", *self.objectives, "seconds", "runs"]]

    def check(self) -> None:
        """Raise NotEnoughError if the study cannot be read or no trial is finished."""
        if self.error is not None:
            raise NotEnoughError(f"study {self.name} cannot be read: {self.error}")
        if self.finished().empty:
            raise NotEnoughError(f"study {self.name}: none of its {plural(len(self.trials), 'trial')} is finished")

    def importance_table(self) -> pd.DataFrame:
        """The share of each parameter in each objective. Raises NotEnoughError if too few trials are finished."""
        self.check()
        if not self.importances:
            raise NotEnoughError(
                f"study {self.name}: {plural(len(self.finished()), 'finished trial')}; which parameter matters is "
                f"shown from {ENOUGH_TRIALS} on"
            )
        return pd.DataFrame(self.importances)

    def finished(self) -> pd.DataFrame:
        """The finished trials in the order in which they ended."""
        return self.trials[self.trials["status"] == "finished"].sort_values(["ended", "trial"])


NO_STUDY = "no study in this store: `python run.py -m +sweeps=depth_width` makes one"


def largest(loaded: list[Study]) -> Study:
    """The study with the most trials. Raises NotEnoughError if there is no study."""
    if not loaded:
        raise NotEnoughError(NO_STUDY)
    return max(loaded, key=lambda study: len(study.trials))


def load(store: Path, *, with_importances: bool = False) -> list[Study]:
    """Load all studies of a store. with_importances: also compute the importances, which takes a second or two."""
    if not any(store.glob("sweeps/*/study.json")):
        return []
    with warnings.catch_warnings(action="ignore"):  # in a notebook, Optuna warns about missing widgets
        from fitnets.sweeper import history  # imports Optuna, which is slow

    return [
        Study(
            name=stored.name,
            objectives=dict(stored.objectives),
            trials=_frame(stored.trials),
            importances=_importances(stored) if with_importances else {},
            error=stored.error,
        )
        for stored in history.of_store(store)
    ]


def _importances(stored: "History") -> dict[str, dict[str, float]]:
    from fitnets.sweeper import history

    if stored.study is None or len(stored.study.trials) < ENOUGH_TRIALS:
        return {}
    return history.importances(stored)


def _frame(trials: list["Trial"]) -> pd.DataFrame:
    rows = [
        {
            "trial": trial.number,
            "status": trial.status,
            "reason": trial.error,
            "name": " ".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in trial.params.items()),
            "runs": trial.runs,
            "started": trial.started,
            "ended": trial.ended,
            "seconds": trial.seconds,
            **trial.params,
            **trial.measures,
        }
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=None if rows else list(TRIAL_COLUMNS)).astype(TRIAL_COLUMNS)


def progress(study: Study) -> pd.Series:
    """The best that the study has reached after each finished trial, indexed by the trial's number.

    With one objective it is the best value; with two it is the dominated hypervolume, between 0 and 1.

    Raises NotEnoughError if there are more than two objectives, and as `Study.check` does.
    """
    study.check()
    finished = study.finished().set_index("trial")
    if len(study.objectives) == 1:
        ((objective, direction),) = study.objectives.items()
        return finished[objective].cummax() if direction == "maximize" else finished[objective].cummin()
    if len(study.objectives) != 2:
        raise NotEnoughError(
            f"study {study.name} has {len(study.objectives)} objectives: its progress can be shown for 1 or 2"
        )
    costs = np.column_stack([_as_costs(finished[name], direction) for name, direction in study.objectives.items()])
    reached = [hypervolume(costs[: count + 1]) for count in range(len(costs))]
    return pd.Series(reached, index=finished.index, name="hypervolume")


def _as_costs(values: pd.Series, direction: str) -> pd.Series:
    """Rescale an objective, so that the study's best value is 0 and its worst is 1."""
    costs = values.astype(float) * (-1 if direction == "maximize" else 1)
    span = costs.max() - costs.min()
    return (costs - costs.min()) / span if span else costs * 0


def hypervolume(costs: NDArray[np.float64]) -> float:
    """The area of the unit square that the points dominate.

    The area is 1 if one point is best in both objectives, and 0 if each point is worst in at least one.

    costs: (N, 2), from 0 (best) to 1 (worst)
    """
    area, height = 0.0, 1.0
    for first, second in sorted(np.clip(costs, 0, 1).tolist()):
        if second < height:
            area += (1 - first) * (height - second)
            height = second
    return area
