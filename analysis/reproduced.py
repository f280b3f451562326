"""The paper's tables beside ours, from a folder that `fitnets reproduce` left: `python -m analysis.reproduced DIR`.

Every figure has its 95 % interval and the number of runs it is of, or says that there is no interval."""

import contextlib
import io
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis import figures, files, markdown, runs
from analysis.tradeoff import engineering
from analysis.verdicts import Comparison, Verdict, comparisons, interval, resolution


class Cell(NamedTuple):
    """A figure of ours. text: as the table has it; candidates: the methods that it was chosen from."""

    row: str
    schedule: str
    text: str
    candidates: list[dict[str, Any]]


def write(folder: Path) -> Path:
    """`table.md`, and the figure if the table has one. Gives the former."""
    path = folder / "table.md"
    files.replace(path, document(folder).encode())
    for kind in ("png", "svg"):
        draw(folder, kind)
    return path


def draw(folder: Path, kind: str) -> None:
    """The figure, if the table has one and enough of it is done; one that was drawn before is gone otherwise."""
    told = _told(folder)
    path = folder / f"{told['name']}.{kind}"
    path.unlink(missing_ok=True)
    if told["figure"] == "depth":
        with contextlib.suppress(runs.NotEnough):  # not enough of it is done
            figure = figures.depth(_frame(folder, told), told["split"], note=_version(told))
            image = io.BytesIO()
            figure.savefig(image, format=kind)
            files.replace(path, image.getvalue())


def document(folder: Path) -> str:
    """The table, verdicts, what is different from the paper, and the command of every cell."""
    told = _told(folder)
    frame = _frame(folder, told)
    cells = [cell for row in told["rows"] for cell in _cells(row, told, frame)]
    parts = [
        _heading(told, frame),
        _table(told, cells, frame),
        _verdicts(told, frame),
        "\n".join(f"- {line}" for line in _notes(told)),
        _commands(cells),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _told(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "table.json").read_text())
    return told


def _frame(folder: Path, told: dict[str, Any]) -> pd.DataFrame:
    """The table's own runs in its order, by hash: the folder may hold those of an earlier order too. Their schedules
    are the table's columns: a run keeps the name under which it was first made."""
    columns = {
        name: schedule
        for row in told["rows"]
        for schedule, candidates in row["cells"].items()
        for one in candidates
        for name in one["runs"].values()
    }
    frame = runs.load(folder).set_index("run", drop=False)
    own = frame.loc[[name for name in columns if name in frame.index]]
    return own.assign(schedule=own["run"].map(columns))


def _version(told: dict[str, Any]) -> str:
    """What must not be taken for the paper's training; nothing at full length and without changes."""
    is_changed = any(not word.startswith("dataset=") for word in told["changes"])  # the data set is told anyway
    return ", ".join(filter(None, [told["scale"] and f"small: {told['scale']}", "changed" if is_changed else ""]))


def _heading(told: dict[str, Any], frame: pd.DataFrame) -> str:
    names = {"test": "test", "valid": "validation"}
    done = frame[frame["status"] == "finished"]
    where = "; ".join(sorted((done["device"] + ", " + done["precision"]).dropna().unique()))
    parts = [
        f"**{told['title']}**, {told['dataset']}, in %, {names[told['split']]} images; mean and 95 % interval over n "
        "students; epochs were chosen on validation.",
        f"**Not the paper's training ({_version(told)}).**" if _version(told) else "",
        f"Made on {where}." if where else "",
    ]
    return " ".join(filter(None, parts))


# --- the table ---


def _table(told: dict[str, Any], cells: list[Cell], frame: pd.DataFrame) -> str:
    by_place = {(cell.row, cell.schedule): cell.text for cell in cells}
    version = f" ({_version(told)})" if _version(told) else ""
    elsewhere = f", {told['paper_dataset']}" if told["dataset"] != told["paper_dataset"] else ""
    header = [
        "",
        "parameters, paper / counted",
        "multiplications, paper / counted",
        f"paper{elsewhere}",
        *(f"ours, `schedule={schedule}`{version}" for schedule in told["schedules"]),
    ]
    rows = []
    for row in told["rows"]:
        ours = [by_place.get((row["label"], schedule), "") for schedule in told["schedules"]]
        rows.append([row["label"], *_counts(row, frame), _published(row["paper"]), *ours])
    return markdown.table(header, rows)


def _published(value: float | str | None) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.2f} (no interval)"


def _counts(row: dict[str, Any], frame: pd.DataFrame) -> list[str]:
    """Parameters and multiplications: as the paper prints them, and as they are counted its way."""
    hashes = [name for found in row["cells"].values() for one in found for name in one["runs"].values()]
    known = frame.loc[frame.index.intersection(hashes)]
    cells = []
    for cost in ("parameters", "multiplications"):
        counted = known[f"{row['side']}_paper_{cost}"].dropna()
        ours = engineering(float(counted.iloc[0])) if len(counted) else ""
        cells.append(" / ".join(filter(None, [row[cost], ours])))
    return cells


def _cells(row: dict[str, Any], told: dict[str, Any], frame: pd.DataFrame) -> Iterator[Cell]:
    for schedule, candidates in row["cells"].items():
        chosen, why = _chosen(candidates, frame)
        text = _figure(chosen, row["side"], told, frame)
        yield Cell(row["label"], schedule, text + why, candidates)


def _chosen(candidates: list[dict[str, Any]], frame: pd.DataFrame) -> tuple[dict[str, Any], str]:
    """(the candidate with the best mean accuracy on validation, by the seeds that all have finished; what is to be said
    of the choice). One that diverged is none."""
    if len(candidates) == 1:
        return candidates[0], ""
    lost = [one for one in candidates if (_own(one, frame)["status"] == "diverged").any()]
    sound = [one for one in candidates if one not in lost] or candidates
    by_seed = [_finished(one, frame).set_index("seed")["student_valid_accuracy"].astype(float) for one in sound]
    common = set.intersection(*(set(accuracies.index) for accuracies in by_seed))
    if not common:
        begun = next((one for one, accuracies in zip(sound, by_seed, strict=True) if len(accuracies)), sound[0])
        return begun, f"; {begun['method']}, nothing to choose between yet"
    means = [float(accuracies[sorted(common)].mean()) for accuracies in by_seed]
    best = sound[means.index(max(means))]
    others = ", ".join(f"{one['method']}{' (diverged)' * (one in lost)}" for one in candidates if one is not best)
    of = f", by {len(common)} of {len(best['runs'])} seeds" if len(common) < len(best["runs"]) else ""
    return best, f"; {best['method']}, chosen on validation before {others}{of}"


def _figure(candidate: dict[str, Any], side: str, told: dict[str, Any], frame: pd.DataFrame) -> str:
    """'0.51 ± 0.04 (n = 3)', '0.51 (n = 1, no interval)', 'not run'; runs that are missing are told."""
    wanted, own, done = len(candidate["runs"]), _own(candidate, frame), _finished(candidate, frame)
    if side == "teacher":
        done = done.drop_duplicates("teacher_hash")
    values = 100 * done[f"{side}_{told['split']}_{told['measure']}"].dropna().astype(float)
    lost = own[own["status"].isin(["diverged", "failed", "stopped", "pruned", "damaged"])]
    note = "".join(f", {count} {status}" for status, count in lost["status"].value_counts().items())
    if values.empty:
        return note.removeprefix(", ") or ("not run" if done.empty else "not evaluated")
    mean, half_width = interval(values, 100 * resolution(done, told["split"]))
    of = f" of {wanted}" if side == "student" and len(values) < wanted else ""
    if math.isnan(half_width):
        return f"{mean:.2f} (n = {len(values)}{of}, no interval{note})"
    return f"{mean:.2f} ± {half_width:.2f} (n = {len(values)}{of}{note})"


def _own(candidate: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[frame.index.intersection(list(candidate["runs"].values()))]


def _finished(candidate: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    own = _own(candidate, frame)
    return own[own["status"] == "finished"]


# --- what stands below it ---


def _verdicts(told: dict[str, Any], frame: pd.DataFrame) -> str:
    """By accuracy on validation, and beside it on test."""
    found = comparisons(frame)
    if not found:
        return ""
    rows = [
        [
            f"{one.first} against {one.second}, {one.setting['student']}, `schedule={one.setting['schedule']}`",
            _difference(one.valid),
            _difference(one.test),
            _verdict(one),
        ]
        for one in found
    ]
    version = f" ({_version(told)})" if _version(told) else ""
    header = [f"difference of accuracies, in points{version}", "on validation", "on test", "verdict, by validation"]
    return markdown.table(header, rows)


def _difference(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    interval_told = "no interval" if verdict.half_width is None else f"± {verdict.half_width:.2f}"
    return f"{verdict.difference:+.2f} {interval_told} (n = {verdict.seeds}{', paired' * verdict.is_paired})"


def _verdict(one: Comparison) -> str:
    if one.valid is None:
        return f"none: {one.refusal}"
    return "; ".join(filter(None, [one.valid.word, one.valid.outlook, one.left_out]))


def _notes(told: dict[str, Any]) -> Iterator[str]:
    if told["scale"]:
        lengths = "; ".join(f"`schedule={schedule}`: {epochs}" for schedule, epochs in told["epochs"].items())
        yield (
            f"Small version, {told['scale']}: {lengths}; what changes from epoch to epoch (momentum, lambda, some "
            "rates) changes as much faster, a warm-up takes one epoch and a rate that falls by update as many updates "
            "as at full length; nothing stops early, and nothing is retrained. Lengths that are named below are the "
            "full ones."
        )
    if told["changes"]:
        yield f"Changed by hand: {', '.join(f'`{word}`' for word in told['changes'])}."
    yield from told["notes"]


def _commands(cells: list[Cell]) -> str:
    header = ["", "schedule", "command", "runs"]
    rows = [
        [cell.row, cell.schedule, f"`{one['command']}`", " ".join(one["runs"].values())]
        for cell in cells
        for one in cell.candidates
    ]
    summary = "<details><summary>The commands of every figure, and the hashes of their runs</summary>"
    return "\n\n".join([summary, markdown.table(header, rows), "</details>"])


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "table.json").is_file():
        print("usage: python -m analysis.reproduced DIR, a folder that fitnets reproduce left", file=sys.stderr)
        return 1
    print(document(Path(sys.argv[1])), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
