"""What a student costs and how good it is: a point for each configuration, over its seeds, and the front of them."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fitnets.experiment import chance
from fitnets.reporting.runs import labels
from fitnets.reporting.verdicts import accuracies, half_width, interval, resolution

TASK = ["dataset", "data_hash", "dataset_seed", "valid_images"]
"""Accuracies can be compared between runs that agree in these: the same images were held out"""


class CostAxis(NamedTuple):
    """suffix: of the runs' columns, after `teacher_` or `student_`."""

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
    "task": "data set, numbered where there are several splits or images of it",
    "dataset": "option",
    "method": "option",
    "schedule": "option",
    "label": "the student and its hint pair",
    "teacher_setting_hash": "the same for all seeds of a teacher",
    "seeds": "count of the student's seeds",
    "count": "count of runs: more than seeds where a seed was run with several teachers",
    "device": "what the latencies were measured on; missing where on several, and the latencies with it",
    "valid_accuracy": "fraction, mean over the runs",
    "valid_half_width": "of its 95 % interval; missing for one run, or where a seed was run with several teachers",
    "at_chance": "whether it is on validation no better than always naming one class, and so on no front",
    "test_accuracy": "likewise, on test; missing where a run was not evaluated there",
    "test_half_width": "of its 95 % interval, likewise",
    **{name: f"{cost.label}; latencies are medians over the runs" for name, cost in COSTS.items()},
    "runs": "their names",
}


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs. frame: of `runs.load`."""
    return frame[frame["status"] == "finished"]


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a configuration, with the columns of POINT_COLUMNS: runs that differ in the seeds of teacher and student
    alone are one point. frame: of `runs.load`; what is not finished is left out."""
    done = _known(frame).assign(label=labels, run=lambda runs: runs["run"].astype(object))
    groups = done.groupby(["setting_hash", "method_hash"], sort=False)
    found = groups[["task", "dataset", "method", "schedule", "label", "teacher_setting_hash"]].first()
    found["seeds"], found["count"] = groups["seed"].nunique(), groups.size()
    found["device"] = groups["device"].first().where(groups["device"].nunique() == 1)
    for split in ("valid", "test"):
        summary = groups[f"student_{split}_accuracy"].agg(["mean", "std", "count"]).astype("Float64")
        is_whole = summary["count"] == found["count"]
        found[f"{split}_accuracy"] = summary["mean"].where(is_whole).astype(float)
        least = (1 / groups[f"{split}_images"].min()).fillna(0).astype(float)  # as verdicts.resolution
        spread = half_width(summary["std"].astype(float).clip(lower=least), found["count"])
        found[f"{split}_half_width"] = spread.where(is_whole & (found["seeds"] == found["count"])).astype(float)
    for name, cost in COSTS.items():
        median = groups[f"student_{cost.suffix}"].median().astype("Float64")
        found[name] = median.where(found["device"].notna()) if is_latency(name) else median
    found["runs"] = groups["run"].agg(list)
    own = pd.Series(accuracies(done, "student"), index=done.index).groupby([done["setting_hash"], done["method_hash"]])
    found["at_chance"] = own.agg(lambda accuracies: chance.is_no_better(*accuracies))
    return found.reset_index(drop=True)[list(POINT_COLUMNS)]


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """The finished runs with their tasks. One that an older version made, without hashes, is like no other."""
    done = finished(frame).assign(task=task_names)
    for column in ("setting_hash", "method_hash", "teacher_hash", "teacher_setting_hash"):
        done[column] = done[column].fillna(done["run"])
    return done


def task_names(frame: pd.DataFrame) -> pd.Series:
    """The name of each run's data set, numbered where runs of one data set have other splits or images: its `task`,
    where the frame has them already."""
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
    """Whether a cost of COSTS depends on the machine that it was measured on."""
    return cost.startswith("latency")


_QUALITIES = [f"{split}_{part}" for split in ("valid", "test") for part in ("accuracy", "half_width")]
_TEACHER_COLUMNS = [
    "task", "teacher_setting_hash", "name", "schedule", "seeds", "device", "at_chance", *_QUALITIES, *COSTS
]  # fmt: skip


def teachers(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a teacher and task, over its seeds: `name`, `schedule`, `seeds`, and the rest as in POINT_COLUMNS. Teachers
    of one task that would be called alike have the beginning of their hash in their names."""
    done = _known(frame).dropna(subset=["teacher"]).drop_duplicates(["task", "teacher_hash"])
    rows = []
    for (task, setting), group in done.groupby(["task", "teacher_setting_hash"], sort=False):
        first = group.iloc[0]
        row: dict[str, Any] = {"task": task, "teacher_setting_hash": setting, "seeds": len(group)}
        row |= {"name": first["teacher_name"], "schedule": first["schedule"]}
        row["at_chance"] = chance.is_no_better(*accuracies(group, "teacher"))
        row["device"] = first["device"] if group["device"].nunique() == 1 else None
        for split in ("valid", "test"):
            values = group[f"teacher_{split}_accuracy"].dropna().astype(float)
            known = interval(values, resolution(group, split)) if len(values) else (np.nan, np.nan)
            row[f"{split}_accuracy"], row[f"{split}_half_width"] = known
        rows.append(row | {key: group[f"teacher_{cost.suffix}"].median() for key, cost in COSTS.items()})
    found = pd.DataFrame(rows, columns=_TEACHER_COLUMNS)
    alike = found.duplicated(["task", "name", "schedule"], keep=False)
    found["name"] += (" [" + found["teacher_setting_hash"].astype("string").str[:6] + "]").where(alike, "")
    return found


def fronts(points: pd.DataFrame, cost: str) -> pd.Series:
    """Whether each of `points` is, on validation, on the front of its task, or of its task and device where the cost is
    a latency. A point that is no better than always naming one class is on none."""
    members = pd.Series(False, index=points.index)
    together = ["task", "device"] if is_latency(cost) else ["task"]
    for _, group in points.groupby(together):
        qualities = group["valid_accuracy"]
        if "at_chance" in group:
            qualities = qualities.mask(group["at_chance"].astype(bool))
        members[group.index] = front(group[cost], qualities)
    return members


def front(costs: pd.Series, qualities: pd.Series) -> pd.Series:
    """Whether each point is beaten by none: no other one is at least as cheap and at least as good, and better in one.
    Points of which a number is missing are not."""
    best = qualities.dropna().groupby(costs).max()
    of_cheaper = best.cummax().shift(fill_value=-np.inf)
    is_best = (qualities == costs.map(best)) & (qualities > costs.map(of_cheaper))
    return is_best.fillna(False).astype(bool)
