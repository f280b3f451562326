"""Backprop, KD and hints side by side: `python -m analysis.controls outputs` prints a Markdown table."""

import math
import sys
from pathlib import Path

import pandas as pd

from analysis import runs
from analysis.tradeoff import engineering
from analysis.verdicts import METHODS, comparisons, interval

SETTING = "setting_hash"


def table(frame: pd.DataFrame) -> str:
    """A Markdown table for each setting (all that the runs share but method and seeds) of the finished runs.

    ValueError where a method has a student's seed with several teachers: such runs are no independent repetitions."""
    finished = frame[frame["status"] == "finished"]
    if finished.empty:
        raise ValueError(f"none of the {len(frame)} runs is finished")
    for (_, method), runs_of_method in finished.groupby([SETTING, "method"]):
        if runs_of_method["method_hash"].nunique() > 1:
            raise ValueError(f"{method} was run with several settings of its own: give each a store of its own")
    repeated = finished[finished.duplicated([SETTING, "method", "seed"])]
    if len(repeated):
        method, seed = repeated.iloc[0][["method", "seed"]]
        raise ValueError(
            f"{method} has seed={seed} with several teacher seeds: give the runs of one comparison a store of their own"
        )
    return "\n\n".join(_setting(group) for _, group in finished.groupby(SETTING))


def _setting(group: pd.DataFrame) -> str:
    first = group.iloc[0]
    lines = [
        f"{first['dataset']}, schedule {first['schedule']}: teacher {first['teacher']}, student "
        f"{runs.students(group).iloc[0]}. Mean and 95 % interval over n seeds, in %.",
        "",
        "| | n | epochs | validation accuracy | test accuracy | multiplications | parameters |",
        "|---|---|---|---|---|---|---|",
        _row("teacher", group.drop_duplicates("teacher_hash"), "teacher", _epochs(group, "teacher")),
    ]
    for method in METHODS:
        chosen = group[group["method"] == method]
        if len(chosen):
            lines.append(_row(method, chosen, "student", _epochs(chosen, "student") + _epochs(chosen, "hint")))
    return "\n".join([*lines, "", *(f"- {comparison}." for comparison in comparisons(group))])


def _epochs(chosen: pd.DataFrame, stage: str) -> pd.Series:
    """Of a stage, retraining not counted; 0 where there was none (no stage 1, a teacher of earlier runs)."""
    return chosen[f"{stage}_epochs"].fillna(0)


def _row(label: str, chosen: pd.DataFrame, side: str, epochs: pd.Series) -> str:
    cells = [
        label,
        str(len(chosen)),
        "-".join(f"{value:.0f}" for value in sorted({epochs.min(), epochs.max()})),
        _accuracy(chosen, f"{side}_valid_accuracy"),
        _accuracy(chosen, f"{side}_test_accuracy"),
        *(engineering(float(chosen[f"{side}_{cost}"].iloc[0])) for cost in ("multiplications", "parameters")),
    ]
    return f"| {' | '.join(cells)} |"


def _accuracy(chosen: pd.DataFrame, column: str) -> str:
    if chosen[column].isna().any():
        return "not evaluated"
    mean, half_width = interval(100 * chosen[column])
    return f"{mean:.2f} (no interval)" if math.isnan(half_width) else f"{mean:.2f} ± {half_width:.2f}"


def main() -> int:
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs")
    if not any(store.glob("run/*/result.json")):
        print(f"{store}: no run/*/result.json in it: give the store of your runs", file=sys.stderr)
        return 1
    try:
        print(table(runs.load(store)))
    except ValueError as error:
        print(f"{store}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
