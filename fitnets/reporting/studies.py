"""The studies of a store, each as a tidy table with a row a trial. Fractions are 0 to 1, latencies milliseconds."""

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
"""of every study; then a column for each parameter, by its key, and for each measure. reason: why it failed; name: the
parameters in short; runs: hashes; seconds: of the job; see `fitnets.sweeper.history.Trial`"""


ENOUGH_TRIALS = 50
"""finished, to tell which parameter matters: with fewer, chance gives any of them any share"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """objectives: measure to `maximize` or `minimize`; importances: of each objective the share of each parameter,
    from ENOUGH_TRIALS on; error: why it could not be read."""

    name: str
    objectives: dict[str, str]
    trials: pd.DataFrame
    importances: dict[str, dict[str, float]]
    error: str | None

    def summary(self) -> pd.DataFrame:
        """The finished trials with their parameters, objectives and runs. NotEnough where there are none."""
        self.check()
        return self.finished()[["trial", "name", *self.objectives, "seconds", "runs"]]

    def check(self) -> None:
        """Raises NotEnough where the study cannot be read or no trial is finished."""
        if self.error is not None:
            raise NotEnoughError(f"study {self.name} cannot be read: {self.error}")
        if self.finished().empty:
            raise NotEnoughError(f"study {self.name}: none of its {plural(len(self.trials), 'trial')} is finished")

    def importance_table(self) -> pd.DataFrame:
        """The share of each parameter in each objective. NotEnough where it is not known: too few trials."""
        self.check()
        if not self.importances:
            raise NotEnoughError(
                f"study {self.name}: {plural(len(self.finished()), 'finished trial')}, and which parameter matters is "
                f"told from {ENOUGH_TRIALS} on"
            )
        return pd.DataFrame(self.importances)

    def finished(self) -> pd.DataFrame:
        """The trials that are finished, each once, in the order of their ends."""
        return self.trials[self.trials["status"] == "finished"].sort_values(["ended", "trial"])


NO_STUDY = "no study in this store: `python run.py -m +sweeps=depth_width` makes one"


def largest(found: list[Study]) -> Study:
    """The study with the most trials. NotEnough where there is no study."""
    if not found:
        raise NotEnoughError(NO_STUDY)
    return max(found, key=lambda study: len(study.trials))


def load(store: Path, *, with_importances: bool = False) -> list[Study]:
    """Of all studies of a store. with_importances: takes a second or two."""
    if not any(store.glob("sweeps/*/study.json")):
        return []
    with warnings.catch_warnings(action="ignore"):  # in a notebook, of widgets that nobody needs
        from fitnets.sweeper import history  # Optuna

    return [
        Study(
            name=found.name,
            objectives=dict(found.objectives),
            trials=_frame(found.trials),
            importances=_importances(found) if with_importances else {},
            error=found.error,
        )
        for found in history.of_store(store)
    ]


def _importances(found: "History") -> dict[str, dict[str, float]]:
    from fitnets.sweeper import history

    if found.study is None or len(found.study.trials) < ENOUGH_TRIALS:
        return {}
    return history.importances(found)


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
    """What the study has reached after each of its finished trials, by the trials' numbers: of one objective the best
    value; of two the dominated hypervolume. NotEnough for more objectives, and without finished trials."""
    study.check()
    finished = study.finished().set_index("trial")
    if len(study.objectives) == 1:
        ((objective, direction),) = study.objectives.items()
        return finished[objective].cummax() if direction == "maximize" else finished[objective].cummin()
    if len(study.objectives) != 2:
        raise NotEnoughError(
            f"study {study.name} has {len(study.objectives)} objectives: its progress is known for 1 and 2"
        )
    costs = np.column_stack([_as_costs(finished[name], way) for name, way in study.objectives.items()])
    reached = [hypervolume(costs[: count + 1]) for count in range(len(costs))]
    return pd.Series(reached, index=finished.index, name="hypervolume")


def _as_costs(values: pd.Series, direction: str) -> pd.Series:
    """From 0, the best, to 1, the worst of the study."""
    costs = values.astype(float) * (-1 if direction == "maximize" else 1)
    span = costs.max() - costs.min()
    return (costs - costs.min()) / span if span else costs * 0


def hypervolume(costs: NDArray[np.float64]) -> float:
    """Area that points (N, 2) dominate in the unit square, less being better: 1 where one point has the best value of
    both objectives, 0 where all are worst in one."""
    area, height = 0.0, 1.0
    for first, second in sorted(np.clip(costs, 0, 1).tolist()):
        if second < height:
            area += (1 - first) * (height - second)
            height = second
    return area
