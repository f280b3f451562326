"""The paper's tables beside ours, from a folder that `fitnets reproduce` left:
`python -m fitnets.reporting.reproduced DIR`.

Every figure has its 95 % interval and the number of runs it is of, or says that there is no interval."""

import contextlib
import io
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fitnets.console import markdown
from fitnets.console.quantities import number
from fitnets.errors import NotEnoughError
from fitnets.reporting import figures, runs
from fitnets.reporting.verdicts import CUT_OFF, Comparison, Verdict, comparisons, interval, resolution, with_interval
from fitnets.store import files

_CUT_OFF_CELL = re.compile(r"\(\d+\.\d+ to \d+\.\d+\)")
"""an interval that is given by its ends"""


class ResultCell(NamedTuple):
    """A figure of ours. text: as the table has it; candidates: the methods that it was chosen from."""

    row: str
    schedule: str
    text: str
    candidates: list[dict[str, Any]]


def write(folder: Path) -> Path:
    """`table.md`, and the figure if the table has one. Gives the former."""
    path = folder / "table.md"
    files.write(path, document(folder).encode(errors="replace"))
    for kind in ("png", "svg"):
        draw(folder, kind)
    return path


def draw(folder: Path, kind: str) -> None:
    """The figure, if the table has one and enough of it is done; one that was drawn before is gone otherwise."""
    spec = _spec(folder)
    path = folder / f"{spec['name']}.{kind}"
    path.unlink(missing_ok=True)
    if spec["figure"] == "depth":
        with contextlib.suppress(NotEnoughError):
            figure = figures.depth(_frame(folder, spec), spec["split"], note=_version(spec))
            image = io.BytesIO()
            with figures.default_style():
                figure.savefig(image, format=kind)
            files.write(path, image.getvalue())


def document(folder: Path) -> str:
    """The table, verdicts, what is different from the paper, and the command of every cell."""
    spec = _spec(folder)
    frame = _frame(folder, spec)
    cells = [cell for row in spec["rows"] for cell in _cells(row, spec, frame)]
    parts = [
        _heading(spec, frame) + (f" {CUT_OFF}" if any(_CUT_OFF_CELL.search(cell.text) for cell in cells) else ""),
        _table(spec, cells, frame),
        _verdicts(spec, frame),
        "\n".join(f"- {line}" for line in _notes(spec)),
        _commands(cells),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _spec(folder: Path) -> dict[str, Any]:
    """What `table.json` says: rows, candidates, commands, notes."""
    spec: dict[str, Any] = files.read_json(folder / "table.json")
    return spec


def _frame(folder: Path, spec: dict[str, Any]) -> pd.DataFrame:
    """The table's own runs in its order, by hash: the folder may hold those of an earlier order too. Their schedules
    are the table's columns: a run keeps the name under which it was first made."""
    columns = {
        name: schedule
        for row in spec["rows"]
        for schedule, candidates in row["cells"].items()
        for candidate in candidates
        for name in candidate["runs"].values()
    }
    frame = runs.load(folder).set_index("run", drop=False)
    own = frame.loc[[name for name in columns if name in frame.index]]
    return own.assign(schedule=own["run"].map(columns))


def _version(spec: dict[str, Any]) -> str:
    """What must not be taken for the paper's training; nothing at full length and without changes."""
    is_changed = any(not word.startswith("dataset=") for word in spec["changes"])  # the data set is told anyway
    return ", ".join(filter(None, [spec["scale"] and f"small: {spec['scale']}", "changed" if is_changed else ""]))


def _heading(spec: dict[str, Any], frame: pd.DataFrame) -> str:
    names = {"test": "test", "valid": "validation"}
    done = frame[frame["status"] == "finished"]
    where = "; ".join(sorted((done["device"] + ", " + done["precision"]).dropna().unique()))
    parts = [
        f"**{spec['title']}**, {spec['dataset']}, in %, {names[spec['split']]} images; mean and 95 % interval over n "
        "students; epochs were chosen on validation.",
        f"**Not the paper's training ({_version(spec)}).**" if _version(spec) else "",
        f"Made on {where}." if where else "",
    ]
    return " ".join(filter(None, parts))


# --- the table ---


def _table(spec: dict[str, Any], cells: list[ResultCell], frame: pd.DataFrame) -> str:
    by_place = {(cell.row, cell.schedule): cell.text for cell in cells}
    version = f" ({_version(spec)})" if _version(spec) else ""
    elsewhere = f", {spec['paper_dataset']}" if spec["dataset"] != spec["paper_dataset"] else ""
    header = [
        "",
        "parameters, paper / counted",
        "multiplications, paper / counted",
        f"paper{elsewhere}",
        *(f"ours, `schedule={schedule}`{version}" for schedule in spec["schedules"]),
    ]
    rows = []
    for row in spec["rows"]:
        ours = [by_place.get((row["label"], schedule), "") for schedule in spec["schedules"]]
        rows.append([row["label"], *_counts(row, frame), _published(row["paper"]), *ours])
    return markdown.table(header, rows)


def _published(value: float | str | None) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.2f} (no interval)"


def _counts(row: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """Parameters and multiplications: as the paper prints them, and as they are counted its way."""
    hashes = [name for found in row["cells"].values() for candidate in found for name in candidate["runs"].values()]
    known = frame.loc[frame.index.intersection(hashes)]
    cells = []
    for cost in ("parameters", "multiplications"):
        counted = known[f"{row['side']}_paper_{cost}"].dropna()
        ours = number(float(counted.iloc[0])) if len(counted) else ""
        cells.append(" / ".join(filter(None, [row[cost], ours])))
    return cells


def _cells(row: dict[str, Any], spec: dict[str, Any], frame: pd.DataFrame) -> Iterator[ResultCell]:
    for schedule, candidates in row["cells"].items():
        chosen, why = _chosen(candidates, frame)
        text = _figure(chosen, row["side"], spec, frame)
        yield ResultCell(row["label"], schedule, text + why, candidates)


def _chosen(candidates: list[dict[str, Any]], frame: pd.DataFrame) -> tuple[dict[str, Any], str]:
    """(the candidate with the best mean accuracy on validation, by the seeds that all have finished; what is to be said
    of the choice). One that diverged is none."""
    if len(candidates) == 1:
        return candidates[0], ""
    lost = [candidate for candidate in candidates if (_own(candidate, frame)["status"] == "diverged").any()]
    sound = [candidate for candidate in candidates if candidate not in lost] or candidates
    by_seed = [
        _finished(candidate, frame).set_index("seed")["student_valid_accuracy"].astype(float) for candidate in sound
    ]
    common = set.intersection(*(set(accuracies.index) for accuracies in by_seed))
    if not common:
        begun = next(
            (candidate for candidate, accuracies in zip(sound, by_seed, strict=True) if len(accuracies)), sound[0]
        )
        return begun, f"; {begun['method']}, nothing to choose between yet"
    means = [float(accuracies[sorted(common)].mean()) for accuracies in by_seed]
    best = sound[means.index(max(means))]
    others = ", ".join(
        f"{candidate['method']}{' (diverged)' * (candidate in lost)}"
        for candidate in candidates
        if candidate is not best
    )
    of = f", by {len(common)} of {len(best['runs'])} seeds" if len(common) < len(best["runs"]) else ""
    return best, f"; {best['method']}, chosen on validation before {others}{of}"


def _figure(candidate: dict[str, Any], side: str, spec: dict[str, Any], frame: pd.DataFrame) -> str:
    """'0.51 ± 0.04 (n = 3)', '0.51 (n = 1, no interval)', 'not run'; runs that are missing are told."""
    wanted, own, done = len(candidate["runs"]), _own(candidate, frame), _finished(candidate, frame)
    if side == "teacher":
        done = done.drop_duplicates("teacher_hash")
    values = 100 * done[f"{side}_{spec['split']}_{spec['measure']}"].dropna().astype(float)
    lost = own[own["status"].isin(["diverged", "failed", "stopped", "pruned", "damaged", "unreadable"])]
    note = "".join(f", {count} {status}" for status, count in lost["status"].value_counts().items())
    if values.empty:
        return note.removeprefix(", ") or ("not run" if done.empty else "not evaluated")
    mean, half_width = interval(values, 100 * resolution(done, spec["split"]))
    of = f" of {wanted}" if side == "student" and len(values) < wanted else ""
    if math.isnan(half_width):
        return f"{mean:.2f} (n = {len(values)}{of}, no interval{note})"
    return f"{with_interval(mean, half_width)} (n = {len(values)}{of}{note})"


def _own(candidate: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[frame.index.intersection(list(candidate["runs"].values()))]


def _finished(candidate: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    own = _own(candidate, frame)
    return own[own["status"] == "finished"]


# --- what stands below it ---


def _verdicts(spec: dict[str, Any], frame: pd.DataFrame) -> str:
    """By accuracy on validation, and beside it on test."""
    found = comparisons(frame)
    if not found:
        return ""
    rows = [
        [_compared(comparison), _difference(comparison.valid), _difference(comparison.test), _verdict(comparison)]
        for comparison in found
    ]
    version = f" ({_version(spec)})" if _version(spec) else ""
    header = [f"difference of accuracies, in points{version}", "on validation", "on test", "verdict, by validation"]
    return markdown.table(header, rows)


def _compared(comparison: Comparison) -> str:
    setting = comparison.setting
    return f"{comparison.first} against {comparison.second}, {setting['student']}, `schedule={setting['schedule']}`"


def _difference(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    interval_told = "no interval" if verdict.half_width is None else f"± {verdict.half_width:.2f}"
    return f"{verdict.difference:+.2f} {interval_told} (n = {verdict.seeds}{', paired' * verdict.is_paired})"


def _verdict(comparison: Comparison) -> str:
    if comparison.valid is None:
        return f"none: {comparison.refusal}"
    remarks = [comparison.valid.word, comparison.valid.outlook, comparison.at_chance, comparison.left_out]
    return "; ".join(filter(None, remarks))


def _notes(spec: dict[str, Any]) -> Iterator[str]:
    if spec["scale"]:
        lengths = "; ".join(f"`schedule={schedule}`: {epochs}" for schedule, epochs in spec["epochs"].items())
        yield (
            f"Small version, {spec['scale']}: {lengths}; what changes from epoch to epoch (momentum, lambda, some "
            "rates) changes as much faster; a warm-up takes as many epochs, and a rate that falls by update as many "
            "updates, as at full length; nothing stops early, and nothing is retrained. Lengths that are named below "
            "are the full ones."
        )
    if spec["changes"]:
        yield f"Changed by hand: {', '.join(f'`{word}`' for word in spec['changes'])}."
    yield from spec["notes"]


def _commands(cells: list[ResultCell]) -> str:
    header = ["", "schedule", "command", "runs"]
    rows = [
        [cell.row, cell.schedule, f"`{candidate['command']}`", " ".join(candidate["runs"].values())]
        for cell in cells
        for candidate in cell.candidates
    ]
    summary = "<details><summary>The commands of every figure, and the hashes of their runs</summary>"
    return "\n\n".join([summary, markdown.table(header, rows), "</details>"])


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "table.json").is_file():
        print(
            "usage: python -m fitnets.reporting.reproduced DIR, a folder that fitnets reproduce left", file=sys.stderr
        )
        return 1
    print(document(Path(sys.argv[1])), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
