"""Run a table or figure of the paper and write the results beside the paper's.

The command first lists what it will run and how long that takes here. It skips finished runs, so the same command
resumes after a stop.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fitnets.commands.arguments import path, positive
from fitnets.composition import loading
from fitnets.console.quantities import duration
from fitnets.console.tables import Table
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError, DivergedError, suggest
from fitnets.experiment import pipeline
from fitnets.reproduction import forecast, table_cells, table_folder
from fitnets.reproduction.forecast import CellTime
from fitnets.reproduction.recipes import CANDIDATES, TABLES, PaperTable
from fitnets.reproduction.scale import TableScale
from fitnets.reproduction.table_cells import ReproductionRequest, TableCell
from fitnets.store import directories, locks
from fitnets.system.resources import ResourceError, short_errors

_FLAGS = {
    "seed": "--seeds",
    "schedule": "--schedule",
    "schedule.name": "--scale",
    "dataset.train_share": "--scale",
    "method": "--only",
}
"""Keys that the table sets for each run, and the flag that chooses among their values."""
_FIXED = ("test", "rerun", "return_measures")
"""Keys that have the same value in every run of every table."""
_HEADER = ["", "schedule", "runs left", "here, at most", forecast.GPU]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "fitnets reproduce",
        description=__doc__,
    )
    parser.add_argument("table", help=f"{', '.join(TABLES)}")
    parser.add_argument("overrides", nargs="*", help="as for fitnets run: dataset.path=..., store=..., engine....")
    parser.add_argument(
        "--scale", default="1", help="scaled-down version: 0.1 (of epochs and images), or epochs=0.1,images=0.2"
    )
    parser.add_argument("--seeds", type=positive, default=3, help="students of each cell; default: 3")
    parser.add_argument("--schedule", help="columns, such as paper or modern,fast; default: all of the table")
    parser.add_argument("--only", metavar="TEXT", help="only the rows whose label contains TEXT")
    parser.add_argument(
        "--methods",
        help=f"where a row takes the best method: among which, such as hints,kd; of {', '.join(CANDIDATES)}",
    )
    parser.add_argument("--out", type=path, help="folder for the table; default: STORE/reproduced/TABLE-...")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="only show what would run and how long it would take; needs a few seconds and no data, and writes nothing",
    )
    parser.add_argument("--config-dir", help="folder with your own options, as for fitnets run")
    arguments = parser.parse_intermixed_args(words)

    request, terminal = _request(arguments), Terminal()
    root = loading.load([word for word in request.changes if table_cells.key(word) == "store"]).root
    directories.check_writable(root)
    terminal.say(request.recipe.title)
    if not any(table_cells.key(word) == "dataset" for word in request.changes):
        terminal.say(f"data: {request.recipe.data}")
    with short_errors(root):
        cells = table_cells.cells(request, terminal, decode=not arguments.plan)
        out = table_folder.default_folder(request, cells[0].candidates[0].runs[0].config)
        if arguments.out is not None:
            out = arguments.out
        if not arguments.plan:
            directories.check_writable(out, "--out ")
        _announce(request, cells, terminal, decode=not arguments.plan)
        if arguments.plan:
            return
        failures = _run(request, cells, out, terminal)
        written = table_folder.write_table(request, cells, out)
    terminal.say(f"{written}: the table as it stands; results and commands are beside it")
    if failures:
        raise ResourceError("\n".join([*failures, "the same command tries these runs again"]))


def _request(arguments: argparse.Namespace) -> ReproductionRequest:
    """Build the request from the command line.

    Raises ConfigError for an unknown table, column or row, and for overrides that the table sets itself.
    """
    if arguments.table not in TABLES:
        names = list(TABLES)
        raise ConfigError(
            f"{arguments.table}: no such table{suggest(arguments.table, names)} (tables: {', '.join(names)})"
        )
    recipe = TABLES[arguments.table]
    schedules = list(recipe.schedules) if arguments.schedule is None else arguments.schedule.split(",")
    for name in schedules:
        if schedules.count(name) > 1:
            raise ConfigError(f"--schedule {arguments.schedule}: {name} is in it twice")
        if name not in recipe.schedules:
            columns = list(recipe.schedules)
            raise ConfigError(
                f"--schedule {name}: no such column{suggest(name, columns)} ({recipe.name}: {', '.join(columns)})"
            )
    _check_changes(recipe, arguments.overrides)
    request = ReproductionRequest(
        recipe=recipe,
        schedules=schedules,
        scale=TableScale.read(arguments.scale),
        seeds=range(arguments.seeds),
        changes=arguments.overrides,
        only=arguments.only,
        methods=_methods(arguments.methods),
        config_dir=arguments.config_dir,
    )
    if not any(row.overrides is not None for row in request.rows):
        labels = [row.label for row in recipe.rows if row.overrides is not None]
        raise ConfigError(f"--only {arguments.only}: no such row (rows: {'; '.join(labels)})")
    return request


def _methods(words: str | None) -> list[str]:
    """The methods of `--methods`. Raises ConfigError for one that no row takes."""
    names = [] if words is None else words.split(",")
    for name in names:
        if name not in CANDIDATES:
            known = list(CANDIDATES)
            raise ConfigError(f"--methods {words}: {name}: no such method{suggest(name, known)} ({', '.join(known)})")
    return names


def _check_changes(recipe: PaperTable, changes: Sequence[str]) -> None:
    """Raise ConfigError for overrides that would make a row differ from its label."""
    row_keys = {table_cells.key(word) for row in recipe.rows for word in row.overrides or ()}
    flags = dict.fromkeys(row_keys, "--only") | _FLAGS
    shared = [table_cells.key(word) for word in recipe.shared]
    for word in changes:
        key = table_cells.key(word)
        if key in flags:
            raise ConfigError(f"{word}: the table sets this key for each run: choose with {flags[key]}")
        if key in shared:
            raise ConfigError(f"{word}: every run of {recipe.name} has {' '.join(recipe.shared)}: leave it out")
        if key in _FIXED:
            raise ConfigError(f"{word}: a table evaluates every run and retrains none: leave it out")


def _announce(request: ReproductionRequest, cells: Sequence[TableCell], terminal: Terminal, *, decode: bool) -> None:
    if not request.scale.is_full:
        terminal.say(f"scaled-down version ({request.scale}): none of it is the paper's training")
        for line in dict.fromkeys(f"schedule={cell.schedule}: {cell.epochs}" for cell in cells):
            terminal.say(f"  {line}")
    times = forecast.of_cells(cells, terminal, decode=decode)
    rows = [[time.cell.row.label, time.cell.schedule, *_time(time)] for time in times if time.runs_left]
    if not rows:
        terminal.say("no run is left")
        return
    terminal.show(Table("runs that are left; a teacher is counted in the first row that needs it", _HEADER, rows))
    here, gpu = (duration(sum(getattr(time, name) for time in times)) for name in ("here_s", "gpu_s"))
    method = "on a few updates" if decode else "roughly, on updates of a few random images"
    terminal.say(f"in all at most {here} of training here, measured {method}; {gpu} on {forecast.ASSUMED}")


def _time(time: CellTime) -> list[str]:
    return [str(time.runs_left), duration(time.here_s), duration(time.gpu_s)]


def _run(request: ReproductionRequest, cells: Sequence[TableCell], out: Path, terminal: Terminal) -> list[str]:
    """Run everything that is not finished, and write the table after every run. Return messages of failed runs.

    Runs that another process works on come last. A run that diverges is a result of the table; a run that exhausts
    memory or disk space is a failure.
    """
    left = [run for run in table_cells.distinct(cells) if not run.is_settled]
    count, failures, diverged_teachers = len(left), [], set()
    while left:
        run = next((run for run in left if not locks.is_locked(run.directory)), left[0])
        left.remove(run)
        if run.hashes.teacher in diverged_teachers:
            terminal.say(f"{run.hash}: not started, its teacher diverged")
            continue
        terminal.say(f"run {count - len(left)} of {count}: {' '.join(run.words)} seed={run.seed}")
        try:
            pipeline.run(run.config, terminal=terminal, notes={"command": run.command, "folder": str(Path.cwd())})
        except DivergedError as error:
            terminal.say(f"{run.hash} diverged: {error}")
            if run.lacks_teacher:
                diverged_teachers.add(run.hashes.teacher)
        except ResourceError as error:
            failures.append(f"{run.hash}: {error}")
        table_folder.write_table(request, cells, out)
    return failures
