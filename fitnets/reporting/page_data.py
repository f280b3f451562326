"""The JSON inside the page: everything that its script draws."""

import json
import math
from typing import Any

import pandas as pd

from fitnets.reporting import paper, runs, summary, tradeoff, verdicts
from fitnets.reporting.figures.style import STYLES
from fitnets.reporting.tradeoff import COSTS

_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross",
            "<": "triangle-left", ">": "triangle-right", "X": "x", "h": "hexagon"}  # fmt: skip
"""Plotly's names for matplotlib's markers."""
_COLUMNS = [
    ("run", "run", "text"), ("status", "status", "text"), ("data", "data", "text"), ("method", "method", "text"),
    ("label", "student", "text"), ("seed", "seed", "text"), ("valid", "validation", "percent"),
    ("test", "test", "percent"), ("multiplications", "mult. of an image", "number"),
    ("parameters", "parameters", "number"), ("latency_ms", "latency, ms", "number"),
    ("epochs", "epochs", "text"), ("seconds", "took", "duration"), ("note", "note", "text"),
]  # fmt: skip
"""Key, heading and format of each column of the page's table."""
_SERIES = {"loss": "train_loss", "error": "valid_error", "hint": "valid_hint_loss", "lambda": "kd_weight"}
"""Column of `runs.epochs` for each learning curve of the page."""
_MOST_POINTS = 200
"""Points of one stage's learning curve, at most, so that the page stays small."""
_MOST_CONFUSION_BYTES = 2_000_000
"""Bytes that all confusion matrices together may add to the page. Runs on a front come first."""


def collect(
    frame: pd.DataFrame, epochs: pd.DataFrame, confusions: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Collect what the page's script draws. Missing numbers are null.

    frame: rows of `runs.load`
    epochs: rows of `runs.epochs`
    confusions: matrices of `runs.confusions`
    """
    points = tradeoff.points(frame)
    rows = frame.assign(label=runs.labels(frame), epochs=verdicts.total_epochs(frame)).to_dict("records")
    fronts = {cost: tradeoff.fronts(points, cost) for cost in COSTS}
    return {
        "tasks": list(points["task"].unique()),
        "costs": {key: {"label": cost.label, "unit": cost.unit} for key, cost in COSTS.items()},
        "styles": {method: [colour, _SYMBOLS[marker]] for method, (colour, marker) in STYLES.items()},
        "points": _points(points, fronts, row_of={run: row for row, run in enumerate(frame["run"]) if pd.notna(run)}),
        "teachers": [_teacher(teacher) for teacher in tradeoff.teachers(frame).to_dict("records")],
        "paper": _paper(points),
        "columns": [
            {"key": key, "label": label, "format": form, "wide": key == "note"} for key, label, form in _COLUMNS
        ],
        "runs": [_row(run) for run in rows],
        "curves": _curves(epochs),
        "confusions": _confusions(confusions or {}, first=_runs_on_fronts(points, fronts)),
        "hints": {
            progress["run"]: progress | {"left": _number(progress["left"])}
            for progress in runs.hint_progress(epochs).to_dict("records")
        },
    }


def _points(points: pd.DataFrame, fronts: dict[str, pd.Series], row_of: dict[str, int]) -> list[dict[str, Any]]:
    """row_of: index in the page's `runs` of each run."""
    return [
        {
            **{key: point[key] for key in ("task", "method", "schedule", "label")},
            "count": summary.repetitions(point),
            "device": None if pd.isna(point["device"]) else point["device"],
            "chance": bool(point["at_chance"]),
            **_accuracies(point),
            "costs": {cost: _number(point[cost]) for cost in COSTS},
            "front": [cost for cost in COSTS if fronts[cost][number]],
            "runs": [row_of[run] for run in point["runs"]],
        }
        for number, point in enumerate(points.to_dict("records"))
    ]


def _teacher(teacher: dict[Any, Any]) -> dict[str, Any]:
    return {
        **{key: teacher[key] for key in ("task", "name", "schedule")},
        "chance": bool(teacher["at_chance"]),
        **_accuracies(teacher),
        "costs": {key: _number(teacher[key]) for key in COSTS},
    }


def _runs_on_fronts(points: pd.DataFrame, fronts: dict[str, pd.Series]) -> list[str]:
    members = points[pd.DataFrame(fronts).any(axis=1)] if len(points) else points
    return [str(run) for names in members["runs"] for run in names]


def _confusions(matrices: dict[str, dict[str, Any]], first: list[str]) -> dict[str, Any]:
    """Return the confusion matrices by run, as many as the page has room for. first: runs whose matrices matter
    most."""
    kept, room = {}, _MOST_CONFUSION_BYTES
    for run in dict.fromkeys([*first, *matrices]):
        if run not in matrices:
            continue
        room -= len(json.dumps(matrices[run], separators=(",", ":")))
        if room < 0:
            break
        kept[run] = matrices[run]
    return kept


def _accuracies(point: dict[Any, Any]) -> dict[str, Any]:
    return {
        split: [_number(point[f"{split}_accuracy"]), _number(point[f"{split}_half_width"])]
        for split in ("valid", "test")
    }


def _number(value: Any) -> float | None:
    return None if pd.isna(value) or math.isinf(value) else float(value)


def _paper(points: pd.DataFrame) -> list[dict[str, Any]]:
    """The paper's results, each in every task of its data set."""
    dataset_of = dict(zip(points["task"], points["dataset"], strict=True))
    results = []
    for task, dataset in dataset_of.items():
        for published in paper.PUBLISHED[paper.PUBLISHED["dataset"] == dataset].to_dict("records"):
            costs = {cost: _number(published[cost]) for cost in ("paper_multiplications", "paper_parameters")}
            results.append(
                {"task": task, "costs": costs}
                | {key: published[key] for key in ("method", "network", "accuracy", "source")}
            )
    return results


def _row(run: dict[Any, Any]) -> dict[str, Any]:
    """A row of the page's table."""

    def text(key: str) -> str | None:
        return None if pd.isna(run[key]) else str(run[key])

    return {
        **{key: text(key) for key in ("run", "status", "data", "method", "command", "folder")},
        "seed": None if pd.isna(run["seed"]) else int(run["seed"]),
        "label": text("label"),
        "valid": _number(run["student_valid_accuracy"]),
        "test": _number(run["student_test_accuracy"]),
        "multiplications": _number(run["student_multiplications"]),
        "parameters": _number(run["student_parameters"]),
        "latency_ms": _number(run["student_batch_1_p50_ms"]),
        "latency_128_ms": _number(run["student_batch_128_p50_ms"]),
        "epochs": _number(run["epochs"]),
        "seconds": _number(run["seconds"]),
        "note": "; ".join(part for part in (text("error"), text("trials")) if part) or None,
    }


def _curves(epochs: pd.DataFrame) -> dict[str, Any]:
    """Learning curves by run and stage, thinned out to _MOST_POINTS; errors in %."""
    curves: dict[str, Any] = {}
    for (run, stage), rows in epochs.groupby(["run", "stage"], sort=False):
        step = -(-len(rows) // _MOST_POINTS)
        kept = rows.iloc[::-step].iloc[::-1]  # counted from the end, so that the last epoch is kept
        series: dict[str, Any] = {"first": int(kept["epoch"].iloc[0]), "step": step, "count": len(kept)}
        for name, column in _SERIES.items():
            if column in kept and kept[column].notna().any():
                factor = 100 if name == "error" else 1
                series[name] = [_rounded(factor, value) for value in kept[column]]
        curves.setdefault(str(run), {})[str(stage)] = series
    return curves


def _rounded(factor: float, value: Any) -> float | None:
    number = _number(value) if isinstance(value, int | float) else None
    return None if number is None else float(f"{factor * number:.3g}")
