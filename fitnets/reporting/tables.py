"""Markdown tables: the front of each task, the methods side by side, and the columns of the run table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fitnets.console import markdown, quantities
from fitnets.console.quantities import plural
from fitnets.reporting import controls, tradeoff
from fitnets.reporting.against import Ranking
from fitnets.reporting.intervals import CUT_OFF, with_interval
from fitnets.reporting.runs import RUN_COLUMNS
from fitnets.reporting.verdicts import Comparison

_FRONT = [
    "student", "method", "runs", "validation accuracy, %", "test accuracy, %", "multiplications", "parameters"
]  # fmt: skip


def document(frame: pd.DataFrame, comparisons: list[Comparison], rankings: Sequence[Ranking] = ()) -> str:
    """The content of `tables.md`: the front of each task, then the methods side by side for settings with several.

    frame: rows of `runs.load`
    comparisons: those of `verdicts.comparisons` for the same rows
    rankings: those of `against.rankings` for the same rows
    """
    points = tradeoff.points(frame)
    has_several_methods = frame.groupby("setting_hash")["method"].transform("nunique") > 1
    parts = []
    for task, group in points.groupby("task", sort=False):
        members = group[tradeoff.fronts(group, "multiplications")].sort_values("multiplications")
        rows = [_front_row(point) for point in members.to_dict("records")]
        parts.append(f"## {task}: the front of {plural(len(group), 'student')}, chosen on validation")
        parts.append(markdown.table(_FRONT, rows) if rows else "No student is better than always naming one class.")
        if any(" to " in cell for row in rows for cell in row[3:5]):
            parts.append(CUT_OFF)
    comparable = frame[has_several_methods]
    if (comparable["status"] == "finished").any():
        parts.append("## Methods side by side\n\n" + controls.table(comparable, comparisons))
    parts += [f"## Methods against {ranking.reference}\n\n{ranking.markdown()}" for ranking in rankings]
    return "\n\n".join(parts) + "\n"


def _front_row(point: dict[Any, Any]) -> list[str]:
    return [
        point["label"], point["method"], str(point["count"]),
        *(_accuracy(point, split) for split in ("valid", "test")),
        *(quantities.number(float(point[cost])) for cost in ("multiplications", "parameters")),
    ]  # fmt: skip


def _accuracy(point: dict[Any, Any], split: str) -> str:
    mean, half_width = point[f"{split}_accuracy"], point[f"{split}_half_width"]
    if pd.isna(mean):
        return "-"
    return f"{100 * mean:.2f}" if pd.isna(half_width) else with_interval(100 * mean, 100 * half_width)


def run_columns() -> str:
    """A Markdown table of RUN_COLUMNS, for `analysis/README.md`. Equal columns of teacher and student share a row."""
    rows = []
    for name, column in RUN_COLUMNS.items():
        of_student = RUN_COLUMNS.get(name.replace("teacher", "student", 1))
        of_teacher = RUN_COLUMNS.get(name.replace("student", "teacher", 1))
        if name.startswith("teacher") and of_student is not None and of_student.meaning == column.meaning:
            rows.append([f"`{name}`, `{name.replace('teacher', 'student', 1)}`", column.dtype, column.meaning])
        elif not (name.startswith("student") and of_teacher is not None and of_teacher.meaning == column.meaning):
            rows.append([f"`{name}`", column.dtype, column.meaning])
    return markdown.table(["column", "type", "meaning and unit"], rows)
