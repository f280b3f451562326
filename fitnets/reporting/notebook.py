"""What the cells of the notebooks have in common: the store, and a sentence where it does not hold enough."""

import os
from collections.abc import Callable, Sized
from pathlib import Path
from typing import TypeVar

import pandas as pd

from fitnets.errors import NotEnoughError
from fitnets.reporting import runs, studies, tradeoff, verdicts
from fitnets.reporting.studies import Study

T = TypeVar("T")


def store() -> Path:
    """The store that FITNETS_STORE names; by default `outputs` of this checkout."""
    return Path(os.environ.get("FITNETS_STORE", "../../outputs"))


def shown(make: Callable[[], T], otherwise: str = "nothing to show") -> T | None:
    """What `make` gives, for the notebook to show. Where it raises NotEnough its sentence is printed, and where it is
    empty, `otherwise`."""
    try:
        found = make()
    except NotEnoughError as error:
        print(f"{error}.")
        return None
    if isinstance(found, Sized) and len(found) == 0:
        print(f"{otherwise}.")
        return None
    return found


def statuses(store: Path, frame: pd.DataFrame) -> pd.Series:
    """How many runs of the store have which status. frame: of `runs.load`. NotEnough where there are none."""
    if not store.is_dir():
        raise NotEnoughError(f"{store}: no such folder: set FITNETS_STORE to that of your runs, their store=")
    if frame.empty:
        raise NotEnoughError(
            f"{store}: no runs in it: `python run.py` makes one, or set FITNETS_STORE to another store"
        )
    return frame["status"].value_counts()


def one_task(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of the task that FITNETS_TASK names, by default of the first; none where none is finished."""
    done = tradeoff.finished(frame)
    tasks = tradeoff.task_names(done)
    first = next(iter(tasks), "")
    return done.loc[tasks == os.environ.get("FITNETS_TASK", first)]


def tasks(frame: pd.DataFrame) -> list[str]:
    """The tasks that have finished runs: what FITNETS_TASK can be."""
    return sorted(tradeoff.task_names(tradeoff.finished(frame)).unique())


def largest_setting(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of the setting that has the most of them."""
    done = tradeoff.finished(frame)
    counts = done["setting_hash"].value_counts()
    return done[done["setting_hash"] == counts.index[0]] if len(counts) else done.iloc[:0]


def verdict_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a comparison of two methods, its verdict on validation and, where there is one, on test."""
    found = verdicts.comparisons(frame)
    return pd.DataFrame(
        [{**one.setting, "validation": str(one), "test": "" if one.test is None else str(one.test)} for one in found]
    )


def study_table(found: list[Study]) -> pd.DataFrame:
    """A row a study: how many of its trials have which status, and why it could not be read. NotEnough without any."""
    if not found:
        raise NotEnoughError(studies.NO_STUDY)
    return pd.DataFrame(
        [{"study": one.name, "error": one.error, **one.trials["status"].value_counts()} for one in found]
    )


def deepest_curves(frame: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """The epochs of the finished student with the most layers. NotEnough where there is none."""
    done = tradeoff.finished(frame).dropna(subset=["student_layers"]).sort_values("student_layers")
    if done.empty:
        raise NotEnoughError("no run is finished")
    of_deepest: pd.DataFrame = epochs[epochs["run"] == done["run"].iloc[-1]]
    return of_deepest


def hint_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs and mean accuracy on validation of the hint runs, by student and pair of layers."""
    done = tradeoff.finished(frame)
    by_pair = done[done["method"] == "hints"].groupby(["student", "hint_layer", "guided_layer"])
    return pd.DataFrame(by_pair["student_valid_accuracy"].agg(["count", "mean"]))


def front_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of the students on the front, with their figures and the commands that do them alone."""
    points = tradeoff.points(frame)
    members = frame[frame["run"].isin(points[tradeoff.fronts(points, "multiplications")]["runs"].explode())]
    return members[["run", "trials", "student_valid_accuracy", "student_test_accuracy", "command"]]


def progress_of_hints(frame: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """How far stage 1 came in each of these runs."""
    return runs.hint_progress(epochs).merge(frame[["run", "seed", "student_valid_accuracy"]], on="run")
