"""Cost and quality of students: one point for each configuration, over its seeds, and the front of the points."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fitnets.experiment import chance
from fitnets.reporting.intervals import half_width, interval, resolution
from fitnets.reporting.runs import labels
from fitnets.reporting.verdicts import accuracies

TASK = ["dataset", "data_hash", "dataset_seed", "valid_images"]
"""Columns that define a task. Runs that agree in them hold out the same images, so their accuracies are comparable."""


class CostAxis(NamedTuple):
    """A cost that accuracy is drawn against.

    label: the label of the axis
    unit: the unit after a number
    suffix: the name of the run table's column, after `teacher_` or `student_`
    """

    label: str
    unit: str
    suffix: str


COSTS = {
    "multiplications": CostAxis("multiplications of one image", "multiplications", "multiplications"),
    "parameters": CostAxis("parameters", "parameters", "parameters"),
    "paper_multiplications": CostAxis(
        "multiplications as the paper counts", "multiplications (paper)", "paper_multiplications"
    ),
    "paper_parameters": CostAxis("parameters as the paper counts", "parameters (paper)", "paper_parameters"),
    "weights_bytes": CostAxis("weight file, bytes", "bytes", "weights_bytes"),
    "latency_ms": CostAxis("latency of 1 image, ms", "ms", "batch_1_p50_ms"),
    "latency_128_ms": CostAxis("latency of 128 images, ms", "ms", "batch_128_p50_ms"),
}
POINT_COLUMNS = {
    "task": "name of the data set, with a number if the store holds several splits or versions of it",
    "dataset": "option",
    "method": "option",
    "schedule": "option",
    "label": "the student and its hint pair",
    "teacher_setting_hash": "hash of the teacher without its seed",
    "seeds": "number of student seeds",
    "count": "number of runs; more than `seeds` if a seed was run with several teachers",
    "device": "device of the latencies; missing if there are several, and then the latencies are missing too",
    "valid_accuracy": "fraction, mean over the runs",
    "valid_half_width": "half-width of the 95 % interval of `valid_accuracy`; missing for a single run, and if a seed "
    "was run with several teachers",
    "at_chance": "true if the point is no better on validation than always naming one class; it is then on no front",
    "test_accuracy": "fraction, mean over the runs; missing if a run was not evaluated on test",
    "test_half_width": "half-width of the 95 % interval of `test_accuracy`; missing as `valid_half_width` is",
    **{name: f"{cost.label}; median over the runs" for name, cost in COSTS.items()},
    "runs": "names of the runs",
}
"""The meaning of each column of `points`."""


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs. frame: rows of `runs.load`."""
    return frame[frame["status"] == "finished"]


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each configuration, with the columns of POINT_COLUMNS.

    Runs that differ only in the seeds of teacher and student are one point. Runs that are not finished are left out.

    frame: rows of `runs.load`
    """
    done = _finished_with_tasks(frame).assign(label=labels, run=lambda runs: runs["run"].astype(object))
    groups = done.groupby(["setting_hash", "method_hash"], sort=False)
    table = groups[["task", "dataset", "method", "schedule", "label", "teacher_setting_hash"]].first()
    table["seeds"], table["count"] = groups["seed"].nunique(), groups.size()
    table["device"] = groups["device"].first().where(groups["device"].nunique() == 1)
    for split in ("valid", "test"):
        summary = groups[f"student_{split}_accuracy"].agg(["mean", "std", "count"]).astype("Float64")
        is_complete = summary["count"] == table["count"]
        table[f"{split}_accuracy"] = summary["mean"].where(is_complete).astype(float)
        smallest_step = (1 / groups[f"{split}_images"].min()).fillna(0).astype(float)  # as in intervals.resolution
        spread = half_width(summary["std"].astype(float).clip(lower=smallest_step), table["count"])
        table[f"{split}_half_width"] = spread.where(is_complete & (table["seeds"] == table["count"])).astype(float)
    for name, cost in COSTS.items():
        median = groups[f"student_{cost.suffix}"].median().astype("Float64")
        table[name] = median.where(table["device"].notna()) if is_latency(name) else median
    table["runs"] = groups["run"].agg(list)
    by_point = pd.Series(accuracies(done, "student"), index=done.index).groupby(
        [done["setting_hash"], done["method_hash"]]
    )
    table["at_chance"] = by_point.agg(lambda accuracies: chance.is_no_better(*accuracies))
    return table.reset_index(drop=True)[list(POINT_COLUMNS)]


def _finished_with_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs with their tasks. A run of an older version has no hashes and becomes its own configuration."""
    done = finished(frame).assign(task=task_names)
    for column in ("setting_hash", "method_hash", "teacher_hash", "teacher_setting_hash"):
        done[column] = done[column].fillna(done["run"])
    return done


def task_names(frame: pd.DataFrame) -> pd.Series:
    """The task of each run: the name of its data set, with a number for the second and later splits of one data set.

    frame: rows of `runs.load`; its column `task` is returned if it already has one
    """
    if "task" in frame:
        return frame["task"]
    numbers: dict[tuple[str, ...], str] = {}
    names = []
    for name, *key in frame[["data", *TASK]].astype("string").fillna("?").itertuples(index=False, name=None):
        task = (name, *key)
        if task not in numbers:
            same = sum(other[0] == name for other in numbers)
            numbers[task] = f"{name} (split {same + 1})" if same else name
        names.append(numbers[task])
    return pd.Series(names, index=frame.index, dtype="string")


def is_latency(cost: str) -> bool:
    """True if a cost of COSTS is a latency, which depends on the machine that measured it."""
    return cost.startswith("latency")


_QUALITIES = [f"{split}_{part}" for split in ("valid", "test") for part in ("accuracy", "half_width")]
_TEACHER_COLUMNS = [
    "task", "teacher_setting_hash", "name", "schedule", "seeds", "device", "at_chance", *_QUALITIES, *COSTS
]  # fmt: skip


def teachers(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each teacher and task, over the teacher's seeds.

    The columns are `name`, `schedule`, `seeds`, and others as in POINT_COLUMNS. Teachers of one task with the same name
    and schedule also show the start of their hash.

    frame: rows of `runs.load`
    """
    done = _finished_with_tasks(frame).dropna(subset=["teacher"]).drop_duplicates(["task", "teacher_hash"])
    rows = []
    for (task, setting), group in done.groupby(["task", "teacher_setting_hash"], sort=False):
        first = group.iloc[0]
        row: dict[str, Any] = {"task": task, "teacher_setting_hash": setting, "seeds": len(group)}
        row |= {"name": first["teacher_name"], "schedule": first["schedule"]}
        row["at_chance"] = chance.is_no_better(*accuracies(group, "teacher"))
        row["device"] = first["device"] if group["device"].nunique() == 1 else None
        for split in ("valid", "test"):
            values = group[f"teacher_{split}_accuracy"].dropna().astype(float)
            mean_and_half_width = interval(values, resolution(group, split)) if len(values) else (np.nan, np.nan)
            row[f"{split}_accuracy"], row[f"{split}_half_width"] = mean_and_half_width
        rows.append(row | {key: group[f"teacher_{cost.suffix}"].median() for key, cost in COSTS.items()})
    table = pd.DataFrame(rows, columns=_TEACHER_COLUMNS)
    is_ambiguous = table.duplicated(["task", "name", "schedule"], keep=False)
    table["name"] += (" [" + table["teacher_setting_hash"].astype("string").str[:6] + "]").where(is_ambiguous, "")
    return table


def fronts(points: pd.DataFrame, cost: str) -> pd.Series:
    """A boolean for each point: true if it is on the front of its task, by accuracy on validation.

    A latency has one front for each task and device. A point that is no better than always naming one class is on no
    front.

    points: rows of `points`
    cost: a key of COSTS
    """
    members = pd.Series(False, index=points.index)
    together = ["task", "device"] if is_latency(cost) else ["task"]
    for _, group in points.groupby(together):
        qualities = group["valid_accuracy"]
        if "at_chance" in group:
            qualities = qualities.mask(group["at_chance"].astype(bool))
        members[group.index] = front(group[cost], qualities)
    return members


def front(costs: pd.Series, qualities: pd.Series) -> pd.Series:
    """A boolean for each point: true if no other point is at least as cheap and at least as good, and better in one.

    Points with a missing number are not on the front.
    """
    best = qualities.dropna().groupby(costs).max()
    of_cheaper = best.cummax().shift(fill_value=-np.inf)
    is_best = (qualities == costs.map(best)) & (qualities > costs.map(of_cheaper))
    return is_best.fillna(False).astype(bool)
