"""List the runs of a store and their status, oldest first."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from fitnets.commands.arguments import path, positive
from fitnets.console import tables
from fitnets.console.quantities import duration, plural
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError, suggest
from fitnets.store import inventory
from fitnets.store.inventory import StoredRun
from fitnets.system import process


class Column(NamedTuple):
    """A column of the table of runs.

    field: field of StoredRun that the column shows
    rank: columns with the smallest ranks are shown if not all fit
    show: formats a value; a run without a value gets '-'
    """

    field: str
    rank: int
    show: Callable[[Any], str] = str


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


COLUMNS = {  # heading: column, from left to right
    "run": Column("directory", 0, lambda directory: Path(directory).name),
    "status": Column("status", 1),
    "date": Column("started", 8, lambda started: f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M}"),
    "took": Column("seconds", 11, duration),
    "data": Column("data", 4),
    "method": Column("method", 5),
    "schedule": Column("schedule", 9),
    "teacher": Column("teacher_name", 10),
    "student": Column("student_name", 6),
    "seed": Column("seed", 7),
    "valid": Column("valid_accuracy", 2, _percent),
    "test": Column("test_accuracy", 3, _percent),
}
_KEYS = {field.name: field.name for field in fields(StoredRun)} | {
    name: column.field for name, column in COLUMNS.items()
}
"""Field of StoredRun for every key of --sort and --filter: the headings of the table and the keys of --json."""
_WIDE = 24
"""Width in characters from which a cell may be folded between its words, so that its column fits."""


def main(words: list[str]) -> None:
    arguments = _parsed(words)
    if arguments.json:
        process.reserve_stdout()
    inventory.check_store(arguments.store)
    runs = _chosen(inventory.runs(arguments.store), arguments)
    if arguments.json:
        process.write_result(json.dumps([asdict(run) for run in runs], indent=2))
        return
    terminal = Terminal()
    if not runs:
        terminal.say(f"{arguments.store}: no such runs")
        return
    width = terminal.console.width if terminal.console.is_terminal else sys.maxsize
    cells = {name: [_cell(column, run) for run in runs] for name, column in COLUMNS.items()}
    shown = _fitting(cells, width)
    rows = list(zip(*(cells[name] for name in shown), strict=True))
    terminal.table(f"{arguments.store}: {plural(len(runs), 'run')}; accuracies are the student's", shown, rows)
    if left_out := [name for name in COLUMNS if name not in shown]:
        terminal.say(f"not shown on {width} columns: {', '.join(left_out)} (--json has all)")
    for run in runs:
        if run.error is not None:
            terminal.say(f"{Path(run.directory).name} {run.status}: {run.error.splitlines()[0]}")


def _parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("fitnets runs", description=__doc__)
    parser.add_argument("store", nargs="?", type=path, default=Path("outputs"), help="default: outputs")
    keys = ", ".join(COLUMNS)
    parser.add_argument("--sort", metavar="KEY", default="date", help=f"{keys}; default: date")
    parser.add_argument("--reverse", action="store_true", help="show the latest, largest or last first")
    parser.add_argument(
        "--filter", metavar="KEY=VALUE", action="append", default=[],
        help="only runs with this value, in which * matches anything: method=kd, 'teacher=resnet*'; may be repeated",
    )  # fmt: skip
    for key in ("status", "dataset", "method"):
        parser.add_argument(f"--{key}", metavar="VALUE", help=f"the same as --filter {key}=VALUE")
    parser.add_argument("--limit", metavar="N", type=positive, help="show only the first N runs")
    parser.add_argument("--json", action="store_true", help="machine-readable, with all fields of a run")
    return parser.parse_args(words)


def _chosen(runs: list[StoredRun], arguments: argparse.Namespace) -> list[StoredRun]:
    """Filter, sort and limit the runs. Runs without a value to sort by come last, in both directions.

    Raises ConfigError for a key that runs do not have.
    """
    filters = list(arguments.filter)
    filters += [f"{key}={value}" for key in ("status", "dataset", "method") if (value := getattr(arguments, key))]
    for word in filters:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--filter {word}: no value: give --filter KEY=VALUE")
        field = _field(key, "--filter")
        runs = [run for run in runs if _matches(run, key, field, value)]
    field = _field(arguments.sort, "--sort")
    sortable = [run for run in runs if getattr(run, field) is not None]
    sortable.sort(key=lambda run: _sort_value(run, field), reverse=arguments.reverse)
    return [*sortable, *(run for run in runs if run not in sortable)][: arguments.limit]


def _field(key: str, argument: str) -> str:
    if key not in _KEYS:
        names = list(dict.fromkeys([*COLUMNS, *_KEYS]))
        raise ConfigError(f"{argument} {key}: no such key{suggest(key, names)} (keys: {', '.join(names)})")
    return _KEYS[key]


def _matches(run: StoredRun, key: str, field: str, pattern: str) -> bool:
    """Return whether the run's value matches, as the table or as --json shows it; upper and lower case are the same."""
    value = getattr(run, field)
    texts = {str(value)} | ({_cell(COLUMNS[key], run)} if key in COLUMNS and value is not None else set())
    return any(fnmatchcase(text.lower(), pattern.lower()) for text in texts)


def _sort_value(run: StoredRun, field: str) -> Any:
    value = getattr(run, field)
    if field == "started":
        return datetime.fromisoformat(value)
    return Path(value).name if field == "directory" else value


def _cell(column: Column, run: StoredRun) -> str:
    value = getattr(run, column.field)
    return "-" if value is None else column.show(value)


def _fitting(cells: dict[str, list[str]], width: int) -> Sequence[str]:
    """Return the columns that fit together, in the order of the table. The hash is always among them, and whole.

    cells: cells of every column, by heading
    width: width of the table, in characters
    """
    chosen: list[str] = []
    for name in sorted(cells, key=lambda name: COLUMNS[name].rank):
        candidate = [other for other in COLUMNS if other in (*chosen, name)]
        rows = list(zip(*(cells[other] for other in candidate), strict=True))
        widths = tables.column_widths(candidate, rows, width)
        natural = tables.column_widths(candidate, rows, 10**9) or []
        fits = widths and all(given >= min(full, _WIDE) for given, full in zip(widths, natural, strict=True))
        if fits or not chosen:
            chosen = candidate
    return chosen
