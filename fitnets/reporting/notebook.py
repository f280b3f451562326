"""Functions for the cells of the notebooks. A cell prints a sentence if the store lacks runs for it."""

import os
import shlex
from collections.abc import Callable, Sized
from pathlib import Path
from typing import TypeVar

import pandas as pd

from fitnets.errors import NotEnoughError
from fitnets.reporting import runs, studies, tradeoff, verdicts
from fitnets.reporting.studies import Study

T = TypeVar("T")


def store() -> Path:
    """The folder in the variable FITNETS_STORE; by default `outputs` of this checkout."""
    return Path(os.environ.get("FITNETS_STORE", "../../outputs"))


def overrides() -> list[str]:
    """The further overrides in the variable FITNETS_OVERRIDES, separated as in a shell."""
    return shlex.split(os.environ.get("FITNETS_OVERRIDES", ""))


def shown(make: Callable[[], T], otherwise: str = "nothing to show") -> T | None:
    """Return the result of `make`, for the notebook to show.

    Print the error's sentence and return None if `make` raises NotEnoughError. Print `otherwise` and return None if
    the result is empty.
    """
    try:
        result = make()
    except NotEnoughError as error:
        print(f"{error}.")
        return None
    if isinstance(result, Sized) and len(result) == 0:
        print(f"{otherwise}.")
        return None
    return result


def statuses(store: Path, frame: pd.DataFrame) -> pd.Series:
    """Count the runs of each status.

    store: the folder, named in the error
    frame: rows of `runs.load`

    Raises NotEnoughError if the folder does not exist or holds no runs.
    """
    if not store.is_dir():
        raise NotEnoughError(f"{store}: no such folder: set FITNETS_STORE to the folder that your runs had as store=")
    if frame.empty:
        raise NotEnoughError(
            f"{store}: no runs in it: `python run.py` makes one, or set FITNETS_STORE to another store"
        )
    return frame["status"].value_counts()


def one_task(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of the task in the variable FITNETS_TASK; by default of the store's first task."""
    done = tradeoff.finished(frame)
    tasks = tradeoff.task_names(done)
    first = next(iter(tasks), "")
    return done.loc[tasks == os.environ.get("FITNETS_TASK", first)]


def tasks(frame: pd.DataFrame) -> list[str]:
    """The tasks with finished runs, which are the possible values of FITNETS_TASK."""
    return sorted(tradeoff.task_names(tradeoff.finished(frame)).unique())


def largest_setting(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of the setting with the most finished runs."""
    done = tradeoff.finished(frame)
    counts = done["setting_hash"].value_counts()
    return done[done["setting_hash"] == counts.index[0]] if len(counts) else done.iloc[:0]


def verdict_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each comparison of two methods: its verdict on validation and, if there is one, on test."""
    return pd.DataFrame(
        [
            {
                **comparison.setting,
                "validation": str(comparison),
                "test": "" if comparison.test is None else str(comparison.test),
            }
            for comparison in verdicts.comparisons(frame)
        ]
    )


def study_table(loaded: list[Study]) -> pd.DataFrame:
    """One row for each study: the number of trials of each status, and the error if it cannot be read.

    Raises NotEnoughError if there are no studies.
    """
    if not loaded:
        raise NotEnoughError(studies.NO_STUDY)
    return pd.DataFrame(
        [{"study": study.name, "error": study.error, **study.trials["status"].value_counts()} for study in loaded]
    )


def deepest_curves(frame: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """The epochs of the finished run whose student has the most layers.

    frame: rows of `runs.load`
    epochs: rows of `runs.epochs`

    Raises NotEnoughError if no run is finished.
    """
    done = tradeoff.finished(frame).dropna(subset=["student_layers"]).sort_values("student_layers")
    if done.empty:
        raise NotEnoughError("no run is finished")
    of_deepest: pd.DataFrame = epochs[epochs["run"] == done["run"].iloc[-1]]
    return of_deepest


def hint_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Number and mean validation accuracy (a fraction) of the hint runs, by student and pair of layers."""
    done = tradeoff.finished(frame)
    by_pair = done[done["method"] == "hints"].groupby(["student", "hint_layer", "guided_layer"])
    return pd.DataFrame(by_pair["student_valid_accuracy"].agg(["count", "mean"]))


def front_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of the students on the front, with their accuracies and the command that repeats each run."""
    points = tradeoff.points(frame)
    members = frame[frame["run"].isin(points[tradeoff.fronts(points, "multiplications")]["runs"].explode())]
    return members[["run", "trials", "student_valid_accuracy", "student_test_accuracy", "command"]]


def progress_of_hints(frame: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """The progress of stage 1 in each of these runs, with its seed and validation accuracy (a fraction)."""
    return runs.hint_progress(epochs).merge(frame[["run", "seed", "student_valid_accuracy"]], on="run")
