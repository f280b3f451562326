"""The paper's tables, run again."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fitnets.commands.arguments import path, positive
from fitnets.composition import loading
from fitnets.console.tables import Table
from fitnets.console.terminal import Terminal, seconds
from fitnets.errors import ConfigError, DivergedError, near
from fitnets.experiment import pipeline
from fitnets.reproduction import forecast, table_cells, table_folder
from fitnets.reproduction.forecast import CellTime
from fitnets.reproduction.recipes import RECIPES, PaperTable
from fitnets.reproduction.scale import TableScale
from fitnets.reproduction.table_cells import ReproductionRequest, TableCell
from fitnets.store import directories, locks
from fitnets.system.resources import ResourceError, short_errors

_OURS = {
    "seed": "--seeds",
    "schedule": "--schedule",
    "schedule.name": "--scale",
    "dataset.train_share": "--scale",
    "method": "--only",
}
"""keys that a table gives each run itself, and what chooses among them"""
_FIXED = ("test", "rerun", "returns")
_HEADER = ["", "schedule", "runs left", "here, at most", forecast.GPU]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "fitnets reproduce",
        description="A table or figure of the paper: says what is run and how long that takes here, runs what is not "
        "done yet, writes the table beside the paper's. The same command goes on after a stop.",
    )
    parser.add_argument("table", help=f"{', '.join(RECIPES)}")
    parser.add_argument("overrides", nargs="*", help="as for fitnets run: dataset.path=..., store=..., engine....")
    parser.add_argument("--scale", default="1", help="small version: 0.1 of both, or epochs=0.1,images=0.2")
    parser.add_argument("--seeds", type=positive, default=3, help="students of each cell; default: 3")
    parser.add_argument("--schedule", help="columns: paper, modern or both; default: all that the table has")
    parser.add_argument("--only", metavar="TEXT", help="the rows whose label contains this")
    parser.add_argument("--out", type=path, help="folder for the table; default: STORE/reproduced/TABLE-...")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="say what would be run and how long it takes, in seconds and without the data; write nothing",
    )
    parser.add_argument("--config-dir", help="folder with options of your own, as for fitnets run")
    arguments = parser.parse_intermixed_args(words)

    order, terminal = _order(arguments), Terminal()
    root = loading.load([word for word in order.changes if table_cells.key(word) == "store"]).root
    directories.check_writable(root)
    terminal.say(order.recipe.title)
    if not any(table_cells.key(word) == "dataset" for word in order.changes):
        terminal.say(f"data: {order.recipe.data}")
    with short_errors(root):
        cells = table_cells.cells(order, terminal, decode=not arguments.plan)
        place = table_folder.folder(order, cells[0].candidates[0].runs[0].config)
        if arguments.out is not None:
            place = arguments.out
        if not arguments.plan:
            directories.check_writable(place, "--out ")
        _announce(order, cells, terminal, decode=not arguments.plan)
        if arguments.plan:
            return
        failures = _run(order, cells, place, terminal)
        written = table_folder.keep(order, cells, place)
    terminal.say(f"{written}: the table as it stands; results and commands lie beside it")
    if failures:
        raise ResourceError("\n".join([*failures, "the same command tries them again"]))


def _order(arguments: argparse.Namespace) -> ReproductionRequest:
    """What the command line asks for. ConfigError for everything that there is not."""
    if arguments.table not in RECIPES:
        names = list(RECIPES)
        raise ConfigError(
            f"{arguments.table}: no such table{near(arguments.table, names)} (tables: {', '.join(names)})"
        )
    recipe = RECIPES[arguments.table]
    schedules = list(recipe.schedules) if arguments.schedule is None else arguments.schedule.split(",")
    for name in schedules:
        if schedules.count(name) > 1:
            raise ConfigError(f"--schedule {arguments.schedule}: {name} is in it twice")
        if name not in recipe.schedules:
            known = list(recipe.schedules)
            raise ConfigError(
                f"--schedule {name}: no such column{near(name, known)} ({recipe.name}: {', '.join(known)})"
            )
    _check_changes(recipe, arguments.overrides)
    order = ReproductionRequest(
        recipe=recipe,
        schedules=schedules,
        scale=TableScale.read(arguments.scale),
        seeds=range(arguments.seeds),
        changes=arguments.overrides,
        only=arguments.only,
        config_dir=arguments.config_dir,
    )
    if not any(row.overrides is not None for row in order.rows):
        labels = [row.label for row in recipe.rows if row.overrides is not None]
        raise ConfigError(f"--only {arguments.only}: no such row (rows: {'; '.join(labels)})")
    return order


def _check_changes(recipe: PaperTable, changes: Sequence[str]) -> None:
    """ConfigError for overrides that would make a row another one than its label says."""
    own = (
        dict.fromkeys((table_cells.key(word) for row in recipe.rows for word in row.overrides or ()), "--only") | _OURS
    )
    shared = [table_cells.key(word) for word in recipe.shared]
    for word in changes:
        key = table_cells.key(word)
        if key in own:
            raise ConfigError(f"{word}: the table gives that to each run: choose with {own[key]}")
        if key in shared:
            raise ConfigError(f"{word}: all of {recipe.name} has {' '.join(recipe.shared)}: leave it out")
        if key in _FIXED:
            raise ConfigError(f"{word}: a table evaluates every run, and trains none again: leave it out")


def _announce(order: ReproductionRequest, cells: Sequence[TableCell], terminal: Terminal, *, decode: bool) -> None:
    if not order.scale.is_full:
        terminal.say(f"small version ({order.scale}); nothing of it is the paper's training")
        for line in dict.fromkeys(f"schedule={cell.schedule}: {cell.epochs}" for cell in cells):
            terminal.say(f"  {line}")
    times = forecast.of_cells(cells, terminal, decode=decode)
    rows = [[time.cell.row.label, time.cell.schedule, *_time(time)] for time in times if time.runs_left]
    if not rows:
        terminal.say("all of it is done")
        return
    terminal.show(Table("what is left; a teacher is counted where it comes first", _HEADER, rows))
    here, gpu = (seconds(sum(getattr(time, name) for time in times)) for name in ("here_s", "gpu_s"))
    how = "on a few updates" if decode else "roughly, on updates of a few random images"
    terminal.say(f"in all at most {here} of training here, measured {how}; {gpu} on {forecast.ASSUMED}")


def _time(time: CellTime) -> list[str]:
    return [str(time.runs_left), seconds(time.here_s), seconds(time.gpu_s)]


def _run(order: ReproductionRequest, cells: Sequence[TableCell], place: Path, terminal: Terminal) -> list[str]:
    """Everything that is not finished; what another process makes comes last. The table is written after every run. One
    that diverges is part of it; those for which memory or disk ran out are given back, in words."""
    left = [run for run in table_cells.distinct(cells) if not run.is_settled]
    count, failures, hopeless = len(left), [], set()
    while left:
        run = next((run for run in left if not locks.is_locked(run.directory)), left[0])
        left.remove(run)
        if run.hashes.teacher in hopeless:
            terminal.say(f"{run.hash}: not begun, its teacher diverged")
            continue
        terminal.say(f"run {count - len(left)} of {count}: {' '.join(run.words)} seed={run.seed}")
        try:
            pipeline.run(run.config, terminal=terminal, notes={"command": run.command, "folder": str(Path.cwd())})
        except DivergedError as error:
            terminal.say(f"{run.hash} diverged: {error}")
            if run.lacks_teacher:
                hopeless.add(run.hashes.teacher)
        except ResourceError as error:
            failures.append(f"{run.hash}: {error}")
        table_folder.keep(order, cells, place)
    return failures
