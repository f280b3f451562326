"""The paper's tables beside ours, from a folder of `fitnets reproduce`: `python -m fitnets.reporting.reproduced DIR`.

Each of our numbers is shown with its 95 % interval, or with the words "no interval", and with its number of runs."""

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
from fitnets.console.quantities import duration, number
from fitnets.errors import NotEnoughError
from fitnets.reporting import factors, runs
from fitnets.reporting.against import rankings
from fitnets.reporting.figures.depth import depth
from fitnets.reporting.figures.style import default_style
from fitnets.reporting.intervals import CUT_OFF, interval, resolution, with_interval
from fitnets.reporting.verdicts import Comparison, Verdict, comparisons
from fitnets.store import files

_CUT_OFF_CELL = re.compile(r"\(\d+\.\d+ to \d+\.\d+\)")
"""An interval that is given by its ends."""


class ResultCell(NamedTuple):
    """One of our numbers in the table.

    row, schedule: the row and column of the cell
    text: the content of the cell
    candidates: the methods that the number was chosen from, each with its command and runs
    """

    row: str
    schedule: str
    text: str
    candidates: list[dict[str, Any]]


def write(folder: Path) -> Path:
    """Write `table.md`, and the figure if the table has one. Returns the path of `table.md`."""
    path = folder / "table.md"
    files.write(path, document(folder).encode(errors="replace"))
    for kind in ("png", "svg"):
        draw(folder, kind)
    return path


def draw(folder: Path, kind: str) -> None:
    """Draw the table's figure, if it has one and enough runs are finished. A figure of an earlier call is deleted.

    kind: png or svg
    """
    spec = _spec(folder)
    path = folder / f"{spec['name']}.{kind}"
    path.unlink(missing_ok=True)
    if spec["figure"] == "depth":
        with contextlib.suppress(NotEnoughError):
            figure = depth(_frame(folder, spec), spec["split"], note=_version(spec))
            image = io.BytesIO()
            with default_style():
                figure.savefig(image, format=kind)
            files.write(path, image.getvalue())


def document(folder: Path) -> str:
    """Write the table in Markdown, with verdicts, the differences from the paper, and the command of every cell.

    folder: holds `table.json` and the runs
    """
    spec = _spec(folder)
    frame = _frame(folder, spec)
    cells = [cell for row in spec["rows"] for cell in _cells(row, spec, frame)]
    parts = [
        _heading(spec, frame) + (f" {CUT_OFF}" if any(_CUT_OFF_CELL.search(cell.text) for cell in cells) else ""),
        _table(spec, cells, frame),
        _times(spec, frame),
        _verdicts(spec, frame),
        _factor_verdicts(frame),
        "\n".join(f"- {line}" for line in _notes(spec)),
        _commands(cells),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def short(folder: Path) -> str:
    """Write a Markdown table for the README: the teachers, and every method of every student, under schedule=fast or
    fast_long, with their accuracy or error, the paper's, and the time of all stages.

    folder: holds `table.json` and the runs
    """
    spec = _spec(folder)
    frame = _frame(folder, spec)
    header = ["student", "trained by", f"{spec['split']} {spec['measure']}, %", "the paper", "epochs", "time in all"]
    paper = {row["label"]: _published(row["paper"]) for row in spec["rows"]}
    rows = _teacher_rows(spec, frame)
    for row, _, method, done, figure in _short_trainings(spec, frame):
        epochs, *_, in_all, _ = _lengths(done)
        rows.append([row, method, figure, paper[row] if method == "hints" else "", epochs, in_all])
    return markdown.table(header, rows)


def _spec(folder: Path) -> dict[str, Any]:
    """Read `table.json`: the rows, candidates, commands and notes of the table."""
    spec: dict[str, Any] = files.read_json(folder / "table.json")
    return spec


def _frame(folder: Path, spec: dict[str, Any]) -> pd.DataFrame:
    """Load the table's runs in the order of the table, indexed by hash.

    Runs of an earlier request that lie in the same folder are left out. A run's schedule is replaced by the column
    that it stands in, because a stored run keeps the schedule name under which it was first made.
    """
    schedule_of = {
        name: schedule
        for row in spec["rows"]
        for schedule, candidates in row["cells"].items()
        for candidate in candidates
        for name in candidate["runs"].values()
    }
    frame = runs.load(folder).set_index("run", drop=False)
    runs_of_table = frame.loc[[name for name in schedule_of if name in frame.index]]
    return runs_of_table.assign(schedule=runs_of_table["run"].map(schedule_of))


def _version(spec: dict[str, Any]) -> str:
    """Name what differs from the paper's training; empty at full length and without changed settings."""
    is_changed = any(not word.startswith("dataset=") for word in spec["changes"])  # the heading names the data set
    return ", ".join(filter(None, [spec["scale"] and f"small: {spec['scale']}", "changed" if is_changed else ""]))


def _heading(spec: dict[str, Any], frame: pd.DataFrame) -> str:
    names = {"test": "test", "valid": "validation"}
    done = frame[frame["status"] == "finished"]
    machines = _machines(done)
    parts = [
        f"**{spec['title']}**, {spec['dataset']}, in %, {names[spec['split']]} images; mean and 95 % interval over n "
        "students; epochs were chosen on validation.",
        f"**Not the paper's training ({_version(spec)}).**" if _version(spec) else "",
        f"Made on {machines}." if machines else "",
    ]
    return " ".join(filter(None, parts))


# --- the table ---


def _table(spec: dict[str, Any], cells: list[ResultCell], frame: pd.DataFrame) -> str:
    by_place = {(cell.row, cell.schedule): cell.text for cell in cells}
    version = f" ({_version(spec)})" if _version(spec) else ""
    paper_dataset = f", {spec['paper_dataset']}" if spec["dataset"] != spec["paper_dataset"] else ""
    header = [
        "",
        "parameters, paper / counted",
        "multiplications, paper / counted",
        f"paper{paper_dataset}",
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
    """Parameters and multiplications as the paper prints them, and as counted here in the paper's way."""
    hashes = [
        name for candidates in row["cells"].values() for candidate in candidates for name in candidate["runs"].values()
    ]
    runs_of_row = frame.loc[frame.index.intersection(hashes)]
    cells = []
    for cost in ("parameters", "multiplications"):
        counted = runs_of_row[f"{row['side']}_paper_{cost}"].dropna()
        ours = number(float(counted.iloc[0])) if len(counted) else ""
        cells.append(" / ".join(filter(None, [row[cost], ours])))
    return cells


def _cells(row: dict[str, Any], spec: dict[str, Any], frame: pd.DataFrame) -> Iterator[ResultCell]:
    for schedule, candidates in row["cells"].items():
        chosen, remark = _chosen(candidates, frame)
        text = _number_with_interval(chosen, row["side"], spec, frame)
        yield ResultCell(row["label"], schedule, text + remark, candidates)


def _chosen(candidates: list[dict[str, Any]], frame: pd.DataFrame) -> tuple[dict[str, Any], str]:
    """Choose the candidate with the best mean accuracy on validation, over the seeds that all candidates finished.

    Candidates that diverged are not chosen, unless all did. Returns the candidate and a remark about the choice.
    """
    if len(candidates) == 1:
        return candidates[0], ""
    diverged = [candidate for candidate in candidates if (_runs(candidate, frame)["status"] == "diverged").any()]
    sound = [candidate for candidate in candidates if candidate not in diverged] or candidates
    by_seed = [
        _finished(candidate, frame).set_index("seed")["student_valid_accuracy"].astype(float) for candidate in sound
    ]
    common = set.intersection(*(set(accuracies.index) for accuracies in by_seed))
    if not common:
        has_runs = (candidate for candidate, accuracies in zip(sound, by_seed, strict=True) if len(accuracies))
        first = next(has_runs, sound[0])
        return first, f"; {first['method']}, no seed is finished for all methods"
    means = [float(accuracies[sorted(common)].mean()) for accuracies in by_seed]
    best = sound[means.index(max(means))]
    others = ", ".join(
        f"{candidate['method']}{' (diverged)' * (candidate in diverged)}"
        for candidate in candidates
        if candidate is not best
    )
    seeds = f", by {len(common)} of {len(best['runs'])} seeds" if len(common) < len(best["runs"]) else ""
    return best, f"; {best['method']}, chosen on validation before {others}{seeds}"


def _number_with_interval(candidate: dict[str, Any], side: str, spec: dict[str, Any], frame: pd.DataFrame) -> str:
    """'0.51 ± 0.04 (n = 3)', '0.51 (n = 1, no interval)' or 'not run', with the number of runs that did not finish."""
    wanted, done = len(candidate["runs"]), _finished(candidate, frame)
    if side == "teacher":
        done = done.drop_duplicates("teacher_hash")
    values = 100 * done[f"{side}_{spec['split']}_{spec['measure']}"].dropna().astype(float)
    statuses = _runs(candidate, frame)["status"]
    lost = statuses[statuses.isin(["diverged", "failed", "stopped", "pruned", "damaged", "unreadable"])]
    note = "".join(f", {count} {status}" for status, count in lost.value_counts().items())
    if values.empty:
        return note.removeprefix(", ") or ("not run" if done.empty else "not evaluated")
    mean, half_width = interval(values, 100 * resolution(done, spec["split"]))
    of_wanted = f" of {wanted}" if side == "student" and len(values) < wanted else ""
    if math.isnan(half_width):
        return f"{mean:.2f} (n = {len(values)}{of_wanted}, no interval{note})"
    return f"{with_interval(mean, half_width)} (n = {len(values)}{of_wanted}{note})"


def _runs(candidate: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[frame.index.intersection(list(candidate["runs"].values()))]


def _finished(candidate: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    runs_of_candidate = _runs(candidate, frame)
    return runs_of_candidate[runs_of_candidate["status"] == "finished"]


# --- below the table ---


def _times(spec: dict[str, Any], frame: pd.DataFrame) -> str:
    """A Markdown table of results, epochs and times, for the columns of schedule=fast and fast_long, which are about
    time."""
    header = ["", "schedule", "method", f"{spec['split']} {spec['measure']}, %"]
    header += ["epochs", "teacher", "stage 1", "stage 2", "in all", "made on"]
    rows = [
        [row, f"`{schedule}`", method, figure, *_lengths(done)]
        for row, schedule, method, done, figure in _short_trainings(spec, frame)
    ]
    return markdown.table(header, rows) if rows else ""


def _short_trainings(spec: dict[str, Any], frame: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame, str]]:
    """(row, schedule, method, finished runs, result in words) of schedule=fast and fast_long. Rows of the teacher are
    left out: it is trained within the others."""
    for row in spec["rows"]:
        for schedule, candidates in row["cells"].items():
            for candidate in candidates:
                done = _finished(candidate, frame)
                if row["side"] == "student" and schedule.startswith("fast") and len(done):
                    figure = _number_with_interval(candidate, "student", spec, frame)
                    yield row["label"], schedule, candidate["method"], done, figure


def _teacher_rows(spec: dict[str, Any], frame: pd.DataFrame) -> list[list[str]]:
    """A row of the README's table for each teacher. Its time is the mean over the runs that trained it or found it."""
    done = pd.concat([frame.iloc[:0], *(done for *_, done, _ in _short_trainings(spec, frame))])
    taught = done[done["teacher_seconds"].notna()]
    return [
        [
            f"teacher `{name}`",
            "backprop",
            _number_with_interval({"runs": dict(enumerate(runs_of_teacher.index))}, "teacher", spec, frame),
            "",
            f"{runs_of_teacher['teacher_epochs'].mean():.0f}",
            duration(runs_of_teacher["teacher_seconds"].mean()),
        ]
        for name, runs_of_teacher in taught.groupby("teacher", sort=False)
    ]


def _lengths(done: pd.DataFrame) -> list[str]:
    """Epochs and mean seconds of the teacher, of stage 1 and of stage 2, and the machine's description."""
    stages = ["teacher", "hint", "student"]
    seconds = done[[f"{stage}_seconds" for stage in stages]].astype(float).mean()
    epochs = done[[f"{stage}_epochs" for stage in stages]].astype(float).mean().dropna()
    of_stages = ["-" if math.isnan(value) else duration(value) for value in seconds]
    return [" + ".join(f"{value:.0f}" for value in epochs), *of_stages, duration(seconds.sum()), _machines(done)]


def _machines(done: pd.DataFrame) -> str:
    return "; ".join(sorted((done["device"] + ", " + done["precision"]).dropna().unique()))


def _factor_verdicts(frame: pd.DataFrame) -> str:
    """Every method against hints, whatever the student's initial weights and normalisation, if the table's runs differ
    in them."""
    differing = [name for name in ("initial_weights", "normalization") if frame[name].nunique() > 1]
    if not differing:
        return ""
    found = rankings(factors.regrouped(frame.reset_index(drop=True), differing), "hints")
    described = " and ".join(differing).replace("_", " ")
    return "\n\n".join(f"With different {described}: {ranking.markdown()}" for ranking in found)


def _verdicts(spec: dict[str, Any], frame: pd.DataFrame) -> str:
    """A Markdown table of the differences on validation and test. The verdict goes by validation."""
    compared = comparisons(frame)
    if not compared:
        return ""
    rows = [
        [_name(comparison), _difference(comparison.valid), _difference(comparison.test), _verdict(comparison)]
        for comparison in compared
    ]
    version = f" ({_version(spec)})" if _version(spec) else ""
    header = [f"difference of accuracies, in points{version}", "on validation", "on test", "verdict, by validation"]
    return markdown.table(header, rows)


def _name(comparison: Comparison) -> str:
    setting = comparison.setting
    return f"{comparison.first} against {comparison.second}, {setting['student']}, `schedule={setting['schedule']}`"


def _difference(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    spread = "no interval" if verdict.half_width is None else f"± {verdict.half_width:.2f}"
    return f"{verdict.difference:+.2f} {spread} (n = {verdict.seeds}{', paired' * verdict.is_paired})"


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
    commands = [
        f"* {cell.row}, `schedule={cell.schedule}`: `{candidate['command']}`; "
        f"runs {' '.join(candidate['runs'].values())}"
        for cell in cells
        for candidate in cell.candidates
    ]
    summary = "<details><summary>The commands of every figure, and the hashes of their runs</summary>"
    return "\n\n".join([summary, "\n".join(commands), "</details>"])


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "table.json").is_file():
        print(
            "usage: python -m fitnets.reporting.reproduced DIR, where DIR is a folder of fitnets reproduce",
            file=sys.stderr,
        )
        return 1
    print(document(Path(sys.argv[1])), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
