"""The runs of a store and their status."""

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
from fitnets.errors import ConfigError, near
from fitnets.store import inventory
from fitnets.store.inventory import StoredRun
from fitnets.system import process


class Column(NamedTuple):
    """rank: the columns with the smallest ones are shown where not all fit; show: the cell of a run that has a value"""

    field: str
    rank: int
    show: Callable[[Any], str] = str


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


COLUMNS = {  # heading: of the table, from left to right
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
"""what can be sorted and filtered by: the columns of the table and the keys of --json, with the field of a Run"""
_WIDE = 24
"""characters: a longer cell may be folded between its words, so that its column fits"""


def main(words: list[str]) -> None:
    arguments = _parsed(words)
    if arguments.json:
        process.reserve_stdout()
    inventory.check_store(arguments.store)
    found = _chosen(inventory.runs(arguments.store), arguments)
    if arguments.json:
        process.write_result(json.dumps([asdict(run) for run in found], indent=2))
        return
    terminal = Terminal()
    if not found:
        terminal.say(f"{arguments.store}: no such runs")
        return
    width = terminal.console.width if terminal.console.is_terminal else sys.maxsize
    cells = {name: [_cell(column, run) for run in found] for name, column in COLUMNS.items()}
    shown = _fitting(cells, width)
    rows = list(zip(*(cells[name] for name in shown), strict=True))
    terminal.table(f"{arguments.store}: {plural(len(found), 'run')}; accuracies are the student's", shown, rows)
    if left_out := [name for name in COLUMNS if name not in shown]:
        terminal.say(f"not shown on {width} columns: {', '.join(left_out)} (--json has all)")
    for run in found:
        if run.error is not None:
            terminal.say(f"{Path(run.directory).name} {run.status}: {run.error.splitlines()[0]}")


def _parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("fitnets runs", description="The runs of a store and their status, oldest first.")
    parser.add_argument("store", nargs="?", type=path, default=Path("outputs"), help="default: outputs")
    keys = ", ".join(COLUMNS)
    parser.add_argument("--sort", metavar="KEY", default="date", help=f"{keys}; default: date")
    parser.add_argument("--reverse", action="store_true", help="the latest, largest or last first")
    parser.add_argument(
        "--filter", metavar="KEY=VALUE", action="append", default=[],
        help="only runs with that value, in which * stands for anything: method=kd, 'teacher=resnet*'; may be repeated",
    )  # fmt: skip
    for key in ("status", "dataset", "method"):
        parser.add_argument(f"--{key}", metavar="VALUE", help=f"the same as --filter {key}=VALUE")
    parser.add_argument("--limit", metavar="N", type=positive, help="the first N of them alone")
    parser.add_argument("--json", action="store_true", help="machine-readable, with all that is known of a run")
    return parser.parse_args(words)


def _chosen(found: list[StoredRun], arguments: argparse.Namespace) -> list[StoredRun]:
    """The runs that pass the filters, sorted. ConfigError for a key that runs do not have."""
    wanted = list(arguments.filter)
    wanted += [f"{key}={value}" for key in ("status", "dataset", "method") if (value := getattr(arguments, key))]
    for word in wanted:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--filter {word}: no value: give --filter KEY=VALUE")
        field = _field(key, "--filter")
        found = [run for run in found if _matches(run, key, field, value)]
    field = _field(arguments.sort, "--sort")
    known = [run for run in found if getattr(run, field) is not None]
    known.sort(key=lambda run: _order(run, field), reverse=arguments.reverse)
    return [*known, *(run for run in found if run not in known)][: arguments.limit]


def _field(key: str, argument: str) -> str:
    if key not in _KEYS:
        names = list(dict.fromkeys([*COLUMNS, *_KEYS]))
        raise ConfigError(f"{argument} {key}: no such key{near(key, names)} (keys: {', '.join(names)})")
    return _KEYS[key]


def _matches(run: StoredRun, key: str, field: str, value: str) -> bool:
    """Whether the value, as the table or as --json has it, is the wanted one; the case of letters does not count."""
    raw = getattr(run, field)
    shown = {str(raw)} | ({_cell(COLUMNS[key], run)} if key in COLUMNS and raw is not None else set())
    return any(fnmatchcase(one.lower(), value.lower()) for one in shown)


def _order(run: StoredRun, field: str) -> Any:
    value = getattr(run, field)
    if field == "started":
        return datetime.fromisoformat(value)
    return Path(value).name if field == "directory" else value


def _cell(column: Column, run: StoredRun) -> str:
    value = getattr(run, column.field)
    return "-" if value is None else column.show(value)


def _fitting(cells: dict[str, list[str]], width: int) -> Sequence[str]:
    """The columns that fit into a width together, in the order of the table. The hash is always there, whole."""
    chosen: list[str] = []
    for name in sorted(cells, key=lambda name: COLUMNS[name].rank):
        candidate = [other for other in COLUMNS if other in (*chosen, name)]
        rows = list(zip(*(cells[other] for other in candidate), strict=True))
        widths = tables.column_widths(candidate, rows, width)
        natural = tables.column_widths(candidate, rows, 10**9) or []
        enough = widths and all(own >= min(full, _WIDE) for own, full in zip(widths, natural, strict=True))
        if enough or not chosen:
            chosen = candidate
    return chosen
