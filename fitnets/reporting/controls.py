"""Backprop, KD and hints side by side: `python -m fitnets.reporting.controls outputs` prints a Markdown table."""

import math
import sys
from pathlib import Path

import pandas as pd

from fitnets.console import markdown
from fitnets.console.quantities import number
from fitnets.errors import NotEnoughError
from fitnets.reporting import runs
from fitnets.reporting.intervals import CUT_OFF, interval, resolution, with_interval
from fitnets.reporting.verdicts import Comparison, comparisons, position, total_epochs, variant_names

_HEADER = ["", "n", "epochs", "validation accuracy", "test accuracy", "multiplications", "parameters"]


def table(frame: pd.DataFrame, compared: list[Comparison] | None = None) -> str:
    """Write a Markdown table of the methods and the verdicts, for each setting of the finished runs.

    frame: rows of `runs.load`
    compared: `verdicts.comparisons` of the same rows, if they are already computed

    Raises NotEnoughError if no run is finished.
    """
    finished = frame[frame["status"] == "finished"]
    if finished.empty:
        raise NotEnoughError(f"none of the {len(frame)} runs is finished")
    compared = comparisons(frame) if compared is None else compared
    return "\n\n".join(
        _setting(group, [comparison for comparison in compared if comparison.setting_hash == setting])
        for setting, group in finished.groupby("setting_hash")
    )


def _setting(group: pd.DataFrame, compared: list[Comparison]) -> str:
    first = group.iloc[0]
    has_teacher = pd.notna(first["teacher"])
    teacher = f"teacher {first['teacher_name']}" if has_teacher else "no teacher"
    title = (
        f"{first['data']}, schedule {first['schedule']}: {teacher}, student "
        f"{runs.students(group).iloc[0]}. Mean and 95 % interval over n runs, in %."
    )
    rows = []
    if has_teacher:
        rows.append(
            _row("teacher", group.drop_duplicates("teacher_hash"), "teacher", group["teacher_epochs"].fillna(0))
        )
    variants = group.assign(variant=variant_names(group)).groupby(["method", "variant", "method_hash"])
    for _, chosen in sorted(variants, key=lambda item: position(item[1]["method"].iloc[0])):
        rows.append(_row(chosen["variant"].iloc[0], chosen, "student", total_epochs(chosen)))
    if any(" to " in cell for row in rows for cell in row[3:5]):
        title += f" {CUT_OFF}"
    parts = [title, markdown.table(_HEADER, rows), "\n".join(f"- {comparison}." for comparison in compared)]
    return "\n\n".join(filter(None, parts))


def _row(label: str, chosen: pd.DataFrame, side: str, epochs: pd.Series) -> list[str]:
    return [
        label,
        str(len(chosen)),
        "-".join(f"{value:.0f}" for value in sorted({epochs.min(), epochs.max()})),
        *(_accuracy(chosen, side, split) for split in ("valid", "test")),
        *(number(float(chosen[f"{side}_{cost}"].iloc[0])) for cost in ("multiplications", "parameters")),
    ]


def _accuracy(chosen: pd.DataFrame, side: str, split: str) -> str:
    column = f"{side}_{split}_accuracy"
    if chosen[column].isna().any():
        return "not evaluated"
    mean, half_width = interval(100 * chosen[column], 100 * resolution(chosen, split))
    if side == "student" and chosen["seed"].duplicated().any():  # runs that differ in the teacher are not independent
        half_width = math.nan
    return f"{mean:.2f} (no interval)" if math.isnan(half_width) else with_interval(mean, half_width)


def main() -> int:
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs")
    if not any(store.glob("run/*/result.json")):
        print(f"{store}: no run/*/result.json in it: give the store of your runs, by default outputs", file=sys.stderr)
        return 1
    try:
        print(table(runs.load(store)))
    except NotEnoughError as error:
        print(f"{store}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
