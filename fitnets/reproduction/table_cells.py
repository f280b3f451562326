"""The runs of a table: its cells, the command of each, and the hash under which each result is stored."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fitnets import paths
from fitnets.composition import loading
from fitnets.config import Config, PretrainedTeacher
from fitnets.data import random_images, splits
from fitnets.data.unread import has_test
from fitnets.machine import devices
from fitnets.planning import identity
from fitnets.planning.identity import Hashes
from fitnets.progress import Progress
from fitnets.reproduction.recipes import CANDIDATES, SHORT_SCHEDULES, PaperTable, ScheduleName, TableRow
from fitnets.reproduction.scale import TableScale, describe_epochs
from fitnets.store import files
from fitnets.store.layout import StoreLayout

_PLACES = ("store", *(f"engine.{key}" for key in ("device", "threads", "checkpoint_seconds", "elsewhere")))
"""Keys for location and hardware. Like those of the tracker they change no result, and they are left out of published
commands."""
_FILES = ("dataset.path", "dataset.split_file")
"""Keys whose values are paths on this machine; published commands show DIR in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """The run of one student with one seed.

    words: the run's overrides, without the seed"""

    config: Config
    words: tuple[str, ...]
    hashes: Hashes

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def hash(self) -> str:
        return self.hashes.run

    @property
    def directory(self) -> Path:
        return StoreLayout(self.config.root).run(self.hash)

    @property
    def lacks_teacher(self) -> bool:
        """Return whether its teacher has to be trained first."""
        teacher = None if isinstance(self.config.teacher, PretrainedTeacher) else self.hashes.teacher
        return teacher is not None and not StoreLayout(self.config.root).teacher(teacher).exists()

    @property
    def command(self) -> list[str]:
        """The command that does this run in the current folder, as words."""
        return [*paths.command(Path.cwd()), *self.words, f"seed={self.seed}"]

    @property
    def is_settled(self) -> bool:
        """Return whether nothing is left to do: the run is finished, with its test figures, or has diverged."""
        path = self.directory / "result.json"
        if not path.exists():
            return False
        result = files.read_json(path)
        if result["status"] != "finished":
            return bool(result["status"] == "diverged")
        return not has_test(self.config) or "test_accuracy" in result["student"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRuns:
    """The runs of one method, one for each seed."""

    method: str
    runs: tuple[PlannedRun, ...]

    @property
    def command(self) -> str:
        """The command for these runs on any machine: without location and hardware, and with DIR for local paths."""
        seeds = [run.seed for run in self.runs]
        overrides = [_without_local_path(override) for override in self.runs[0].words if not _is_place(override)]
        multirun = ["-m"] if len(seeds) > 1 else []
        return shlex.join([*paths.command(), *multirun, *overrides, f"seed={','.join(map(str, seeds))}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """A row of the table under one schedule.

    candidates: the runs of each method that validation chooses from
    epochs: the lengths of the stages beside those of the full version, from `describe_epochs`"""

    row: TableRow
    schedule: ScheduleName
    candidates: tuple[MethodRuns, ...]
    epochs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionRequest:
    """The table that the command line asks for.

    schedules: the columns
    seeds: the students' seeds of each cell
    changes: overrides from the command line
    only: keeps the rows whose label contains this text; None keeps all
    methods: keeps these of the methods that a row's choice is made from; empty keeps all
    config_dir: folder with the user's own options"""

    recipe: PaperTable
    schedules: Sequence[ScheduleName]
    scale: TableScale
    seeds: Sequence[int]
    changes: Sequence[str] = ()
    only: str | None = None
    methods: Sequence[str] = ()
    config_dir: str | None = None

    @property
    def schedule_changes(self) -> list[str]:
        return [override for override in self.changes if override.lstrip("+~").startswith("schedule.")]

    @property
    def result_changes(self) -> list[str]:
        """The overrides from the command line that may change results."""
        return [override for override in self.changes if not _is_place(override) and key(override) not in _FILES]

    @property
    def rows(self) -> list[TableRow]:
        """The rows that the columns have, and the published figures of others."""
        rows = [row for row in self.recipe.rows if self.only is None or self.only in row.label]
        return [row for row in rows if row.overrides is None or any(map(row.is_in, self.schedules))]


def cells(request: ReproductionRequest, progress: Progress, *, decode: bool = True) -> list[TableCell]:
    """List the cells of a table with all their runs, column by column.

    decode: if False, no data are decoded; runs on data that are not decoded yet get provisional hashes, and none counts
        as done

    Raises ConfigError for every mistake that the user has to correct."""
    places = [(row, schedule) for schedule in request.schedules for row in request.rows if row.is_in(schedule)]
    is_own = request.config_dir is not None
    load = partial(loading.load, config_dir=request.config_dir) if is_own else loading.loader()
    return [_cell(request, row, schedule, load, progress, decode=decode) for row, schedule in places]


def _cell(
    request: ReproductionRequest,
    row: TableRow,
    schedule: ScheduleName,
    load: Callable[[list[str]], Config],
    progress: Progress,
    *,
    decode: bool,
) -> TableCell:
    names = ("hints",) if schedule == "paper" or row.side == "teacher" else CANDIDATES
    chosen = [name for name in names if not request.methods or name in request.methods] or names
    methods = [None] if row.names_method else [f"method={name}" for name in chosen]
    config_dir = () if request.config_dir is None else ("--config-dir", str(Path(request.config_dir).resolve()))
    candidates, epochs = [], ""
    for method in methods:
        full = load(_overrides(request, row, schedule, method))
        later = request.scale.overrides(full), request.schedule_changes
        overrides = _overrides(request, row, schedule, method, *later)
        config = load(overrides) if any(later) else full
        precision = devices.precision(config, devices.set_up_device(config.engine))
        if config.engine.precision == "auto":  # so that the command gives these hashes on other machines too
            overrides.append(f"engine.precision={precision}")
            config = replace(config, engine=replace(config.engine, precision=precision))
        digest = None if decode else planned_digest(config)
        if digest is None:
            digest = splits.digest(config.dataset, config.root, progress)
        runs = tuple(_run(replace(config, seed=seed), (*config_dir, *overrides), digest) for seed in request.seeds)
        candidates.append(MethodRuns(method=config.method.name, runs=runs))
        epochs = describe_epochs(config.schedule, full.schedule)  # the same for all methods
    return TableCell(row=row, schedule=schedule, candidates=tuple(candidates), epochs=epochs)


def planned_digest(config: Config) -> str | None:
    """The digest of data that are decoded already, or the text "not decoded" in its place. None if the data have to be
    decoded to know how many images there are."""
    if random_images.counts(config.dataset) is None:
        return None
    return splits.known_digest(config.dataset, config.root) or "not decoded"


def _overrides(
    request: ReproductionRequest, row: TableRow, schedule: ScheduleName, method: str | None, *later: Sequence[str]
) -> list[str]:
    """The overrides of a run: those of the table, those of the command line without the schedule's, then the later
    ones. An override replaces every earlier one of the same key."""
    assert row.overrides is not None
    of_table = [
        f"dataset={request.recipe.dataset}",
        *request.recipe.shared,
        *(request.recipe.fast if schedule in SHORT_SCHEDULES else ()),
        *row.overrides,
        *([method] if method else []),
        f"schedule={schedule}",
    ]
    if schedule == "paper":
        of_table.append("schedule.equal_epochs=true")
    of_user = [override for override in request.changes if override not in request.schedule_changes]
    groups = (of_table, of_user, *later)
    return list({key(override): override for group in groups for override in group}.values())


def key(override: str) -> str:
    """The key that an override sets, without `+`, `++` or `~`."""
    return override.lstrip("+~").split("=")[0]


def _is_place(override: str) -> bool:
    return key(override) in _PLACES or key(override).startswith("tracker")


def _run(config: Config, overrides: tuple[str, ...], digest: str) -> PlannedRun:
    precision = config.engine.precision
    assert precision != "auto"
    return PlannedRun(config=config, words=overrides, hashes=identity.hashes(config, digest, precision))


def distinct(cells: Sequence[TableCell]) -> list[PlannedRun]:
    """The runs of some cells, each once. All methods of one seed come before the next seed, so that a table that is
    stopped half-way compares all methods."""
    runs = {run.hash: run for cell in cells for candidate in cell.candidates for run in candidate.runs}
    return sorted(runs.values(), key=lambda run: run.seed)


def _without_local_path(override: str) -> str:
    """Replace a local path in an override by DIR."""
    return f"{key(override)}=DIR" if key(override) in _FILES else override
