"""The runs of a recipe: every cell of its table, the command of each, and the hash by which its result is found."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fitnets import paths
from fitnets.composition import loading
from fitnets.config import Config, PretrainedTeacher, former_keys
from fitnets.data import random_images, splits
from fitnets.data.test_split import has_test
from fitnets.machine import devices
from fitnets.planning import identity
from fitnets.planning.identity import Hashes
from fitnets.progress import Progress
from fitnets.reproduction.recipes import CANDIDATES, PaperTable, ScheduleName, TableRow
from fitnets.reproduction.scale import TableScale, epochs_told
from fitnets.store import files, layout
from fitnets.store.layout import StoreLayout

_PLACES = ("store", *(f"engine.{key}" for key in ("device", "threads", "checkpoint_seconds", "on_other_machine")))
"""keys that say where and by what: like those of the tracker they change no result, and no command shows them"""
_FILES = ("dataset.path", "dataset.split_file")
"""keys whose values are of this machine"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One student of one seed. words: its overrides, without the seed."""

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
        """Whether its teacher is still to be trained."""
        teacher = None if isinstance(self.config.teacher, PretrainedTeacher) else self.hashes.teacher
        return teacher is not None and not StoreLayout(self.config.root).teacher(teacher).exists()

    @property
    def command(self) -> list[str]:
        return [*paths.command(Path.cwd()), *self.words, f"seed={self.seed}"]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: it is finished, with its figures on test, or has diverged."""
        path = self.directory / layout.RESULT
        if not path.exists():
            return False
        result = files.read_json(path)
        if result["status"] != "finished":
            return bool(result["status"] == "diverged")
        return not has_test(self.config) or "test_accuracy" in result["student"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRuns:
    """A method, one run for each seed."""

    method: str
    runs: tuple[PlannedRun, ...]

    @property
    def command(self) -> str:
        """What does these runs, as somebody else would type it."""
        seeds = [run.seed for run in self.runs]
        told = [_elsewhere(word) for word in self.runs[0].words if not _is_place(word)]
        multirun = ["-m"] if len(seeds) > 1 else []
        return shlex.join([*paths.command(), *multirun, *told, f"seed={','.join(map(str, seeds))}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """A row of the table under one schedule. candidates: the methods that validation chooses from; epochs: the stages'
    lengths, in words, against those of the full version."""

    row: TableRow
    schedule: ScheduleName
    candidates: tuple[MethodRuns, ...]
    epochs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionRequest:
    """What was asked for. changes: overrides from the command line; only: a part of the label of the rows that are
    wanted."""

    recipe: PaperTable
    schedules: Sequence[ScheduleName]
    scale: TableScale
    seeds: Sequence[int]
    changes: Sequence[str] = ()
    only: str | None = None
    config_dir: str | None = None

    @property
    def schedule_changes(self) -> list[str]:
        return [word for word in self.changes if word.lstrip("+~").startswith("schedule.")]

    @property
    def told_changes(self) -> list[str]:
        """Those that may change results."""
        return [word for word in self.changes if not _is_place(word) and key(word) not in _FILES]

    @property
    def rows(self) -> list[TableRow]:
        return [row for row in self.recipe.rows if self.only is None or self.only in row.label]


def cells(order: ReproductionRequest, progress: Progress, *, decode: bool = True) -> list[TableCell]:
    """Everything that there is to run. ConfigError for what the user has to change.

    decode: False where data that were not decoded before are not to be looked at; no run is then found"""
    wanted = [(row, schedule) for schedule in order.schedules for row in order.rows if row.overrides is not None]
    return [_cell(order, row, schedule, progress, decode=decode) for row, schedule in wanted]


def _cell(
    order: ReproductionRequest, row: TableRow, schedule: ScheduleName, progress: Progress, *, decode: bool
) -> TableCell:
    chosen = ("hints",) if schedule == "paper" or row.side == "teacher" else CANDIDATES
    methods = [None] if row.names_method else [f"method={name}" for name in chosen]
    own = () if order.config_dir is None else ("--config-dir", str(Path(order.config_dir).resolve()))
    candidates, epochs = [], ""
    for method in methods:
        full = loading.load(_words(order, row, schedule, method), order.config_dir)
        later = order.scale.overrides(full), order.schedule_changes
        words = _words(order, row, schedule, method, *later)
        config = loading.load(words, order.config_dir) if any(later) else full
        precision = devices.precision(config, devices.set_up_device(config.engine))
        if config.engine.precision == "auto":  # so that the command gives these hashes on other machines too
            words.append(f"engine.precision={precision}")
            config = replace(config, engine=replace(config.engine, precision=precision))
        digest = None if decode else planned_digest(config)
        if digest is None:
            digest = splits.digest(config.dataset, config.root, progress)
        runs = tuple(_run(replace(config, seed=seed), (*own, *words), digest) for seed in order.seeds)
        candidates.append(MethodRuns(method=config.method.name, runs=runs))
        epochs = epochs_told(config, full)  # the same for all methods
    return TableCell(row=row, schedule=schedule, candidates=tuple(candidates), epochs=epochs)


def planned_digest(config: Config) -> str | None:
    """The digest of data that were decoded before; of others a word in its place; None where only decoding tells how
    many images there are."""
    if random_images.counts(config.dataset) is None:
        return None
    return splits.known_digest(config.dataset, config.root) or "not decoded"


def _words(
    order: ReproductionRequest, row: TableRow, schedule: ScheduleName, method: str | None, *later: Sequence[str]
) -> list[str]:
    """The overrides of a run: the recipe's, those of the command line that are not of the schedule, and later ones. A
    later one replaces an earlier one of the same key."""
    assert row.overrides is not None
    words = [
        f"dataset={order.recipe.dataset}",
        *order.recipe.shared,
        *row.overrides,
        *([method] if method else []),
        f"schedule={schedule}",
    ]
    if schedule == "paper":
        words.append("schedule.equal_epochs=true")
    others = [word for word in order.changes if word not in order.schedule_changes]
    return list({key(word): word for group in (words, others, *later) for word in group}.values())


def key(word: str) -> str:
    """Of an override."""
    return former_keys.current_key(word.lstrip("+~").split("=")[0])


def _is_place(word: str) -> bool:
    return key(word) in _PLACES or key(word).startswith("tracker")


def _run(config: Config, words: tuple[str, ...], digest: str) -> PlannedRun:
    precision = config.engine.precision
    assert precision != "auto"
    return PlannedRun(config=config, words=words, hashes=identity.hashes(config, digest, precision))


def distinct(cells: Sequence[TableCell]) -> list[PlannedRun]:
    """The runs of some cells, each once, all methods of a seed before the next seed: a table that is stopped half-way
    compares what it has."""
    found = {run.hash: run for cell in cells for candidate in cell.candidates for run in candidate.runs}
    return sorted(found.values(), key=lambda run: run.seed)


def _elsewhere(word: str) -> str:
    """The word in the words of somebody whose files lie elsewhere."""
    return f"{key(word)}=DIR" if key(word) in _FILES else word
