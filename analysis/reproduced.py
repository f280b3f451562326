"""The paper's tables beside ours, from a folder that `fitnets reproduce` left: `python -m analysis.reproduced DIR`.

Every figure has its 95 % interval and the number of runs it is of, or says that there is no interval."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis import figures, runs
from analysis.tradeoff import engineering
from analysis.verdicts import Comparison, comparisons, interval


class Cell(NamedTuple):
    """A figure of ours. text: as the table has it; command: what gives it; hashes: of its runs."""

    row: str
    schedule: str
    text: str
    command: str
    hashes: list[str]


def write(folder: Path) -> Path:
    """`table.md`, and the figure if the table has one. Gives the former."""
    path = folder / "table.md"
    path.write_text(markdown(folder))
    told = _told(folder)
    if told["figure"] == "depth":
        try:
            figure = figures.depth(runs.load(folder))
        except ValueError:  # not enough of it is done yet
            return path
        for kind in ("png", "svg"):
            figure.savefig(folder / f"{told['name']}.{kind}")
    return path


def markdown(folder: Path) -> str:
    """The table, verdicts, what is different from the paper, and the command of every cell."""
    told, frame = _told(folder), runs.load(folder).set_index("run", drop=False)
    cells = [cell for row in told["rows"] for cell in _cells(row, told, frame)]
    parts = [
        _heading(told, frame),
        _table(told, cells, frame),
        _verdicts(frame),
        "\n".join(f"- {line}" for line in _differences(told)),
        _commands(cells),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _told(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "table.json").read_text())
    return told


def _heading(told: dict[str, Any], frame: pd.DataFrame) -> str:
    names = {"test": "test", "valid": "validation"}
    scale = f" **Small version ({told['scale']}): not the paper's training.**" if told["scale"] else ""
    done = frame[frame["status"] == "finished"]
    where = "; ".join(sorted((done["device"] + ", " + done["precision"]).dropna().unique()))
    return (
        f"**{told['title']}**, {told['dataset']}, in %, {names[told['split']]} images; mean and 95 % interval over n "
        f"students; the best epoch was chosen on validation.{scale}{f' Made on {where}.' if where else ''}"
    )


# --- the table ---


def _table(told: dict[str, Any], cells: list[Cell], frame: pd.DataFrame) -> str:
    by_place = {(cell.row, cell.schedule): cell.text for cell in cells}
    headings = [f"ours, `schedule={schedule}`{' (small)' if told['scale'] else ''}" for schedule in told["schedules"]]
    lines = [
        ["", "parameters, paper", "counted", "multiplications", "paper", *headings],
        ["---"] * (5 + len(headings)),
    ]
    for row in told["rows"]:
        ours = [by_place.get((row["label"], schedule), "") for schedule in told["schedules"]]
        lines.append([row["label"], row["parameters"], *_counts(row, frame), _published(row["paper"]), *ours])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _published(value: float | str | None) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.2f} (no interval)"


def _counts(row: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """Parameters and multiplications as the paper counts."""
    hashes = [name for found in row["cells"].values() for one in found for name in one["runs"].values()]
    known = frame.loc[frame.index.intersection(hashes)]
    if known.empty:
        return ["", ""]
    return [
        engineering(float(known[f"{row['side']}_paper_{cost}"].iloc[0])) for cost in ("parameters", "multiplications")
    ]


def _cells(row: dict[str, Any], told: dict[str, Any], frame: pd.DataFrame) -> Iterator[Cell]:
    for schedule, candidates in row["cells"].items():
        best = max(candidates, key=lambda one: _on_validation(one, frame))
        text = _figure(best, row["side"], told, frame)
        if len(candidates) > 1 and not text.startswith("not run"):
            others = ", ".join(one["method"] for one in candidates if one is not best)
            text += f"; {best['method']}, chosen on validation before {others}"
        yield Cell(row["label"], schedule, text, best["command"], list(best["runs"].values()))


def _on_validation(candidate: dict[str, Any], frame: pd.DataFrame) -> float:
    """Mean accuracy; of fewer runs none."""
    done = _finished(candidate, frame)
    mean = float(done["student_valid_accuracy"].astype(float).mean()) if len(done) else math.nan
    return -math.inf if math.isnan(mean) else mean


def _figure(candidate: dict[str, Any], side: str, told: dict[str, Any], frame: pd.DataFrame) -> str:
    """'0.51 ± 0.04 (n = 3)', '0.51 (n = 1, no interval)', 'not run'; runs that are missing are told."""
    wanted = len(candidate["runs"])
    own = frame.loc[frame.index.intersection(list(candidate["runs"].values()))]
    done = _finished(candidate, frame)
    column = f"{side}_{told['split']}_{told['measure']}"
    if side == "teacher":
        done = done.drop_duplicates("teacher_hash")
    values = 100 * done[column].dropna().astype(float)
    lost = own[own["status"].isin(["diverged", "failed"])]
    note = "".join(f", {count} {status}" for status, count in lost["status"].value_counts().items())
    if values.empty:
        return f"not run{note}"
    mean, half_width = interval(values)
    of = f" of {wanted}" if side == "student" and len(values) < wanted else ""
    if math.isnan(half_width):
        return f"{mean:.2f} (n = {len(values)}{of}, no interval{note})"
    return f"{mean:.2f} ± {half_width:.2f} (n = {len(values)}{of}{note})"


def _finished(candidate: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    own = frame.loc[frame.index.intersection(list(candidate["runs"].values()))]
    return own[own["status"] == "finished"]


# --- what stands below it ---


def _verdicts(frame: pd.DataFrame) -> str:
    """By accuracy on validation, and beside it on test."""
    found = comparisons(frame)
    if not found:
        return ""
    lines = [f"- `schedule={one.setting['schedule']}`, {one.setting['student']}: {_verdict(one)}." for one in found]
    return "\n".join(["Verdicts, by accuracy on validation:", "", *lines])


def _verdict(one: Comparison) -> str:
    return f"{one}" if one.test is None else f"{one}; on test {one.test.numbers}"


def _differences(told: dict[str, Any]) -> Iterator[str]:
    if told["scale"]:
        lengths = "; ".join(f"`schedule={schedule}`: {epochs}" for schedule, epochs in told["epochs"].items())
        yield f"Small version, {told['scale']}: {lengths}; nothing stops early, and nothing is retrained."
    if told["changes"]:
        yield f"Changed by hand: {', '.join(f'`{word}`' for word in told['changes'])}."
    yield from told["choices"]


def _commands(cells: list[Cell]) -> str:
    rows = [f"| {cell.row} | {cell.schedule} | `{cell.command}` | {' '.join(cell.hashes)} |" for cell in cells]
    head = "| | schedule | command | runs |\n| --- | --- | --- | --- |"
    return "\n".join(
        [
            "<details><summary>The command of every figure, and the hashes of its runs</summary>",
            "",
            head,
            *rows,
            "",
            "</details>",
        ]
    )


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "table.json").is_file():
        print("usage: python -m analysis.reproduced DIR, a folder that fitnets reproduce left", file=sys.stderr)
        return 1
    print(markdown(Path(sys.argv[1])), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
