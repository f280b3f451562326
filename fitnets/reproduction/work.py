"""The runs of a recipe: every cell of its table, the command of each, and the hash by which its result is found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fitnets import compose, data, engine, plan, store
from fitnets.config import Config
from fitnets.labelled import Watcher
from fitnets.reproduction.recipes import CANDIDATES, Recipe, Row, Schedule
from fitnets.reproduction.scale import Scale

_PLACES = ("store=", "tracker", "engine.device=", "engine.threads=", "engine.checkpoint_seconds=")
"""words that say where and by what: they change no result, and no command shows them"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One student of one seed. words: the overrides that make it, without the seed."""

    config: Config
    words: tuple[str, ...]
    hash: str

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def command(self) -> list[str]:
        return ["python", "run.py", *self.words, f"seed={self.seed}"]

    @property
    def is_finished(self) -> bool:
        return store.is_finished(self.config.root / "run" / self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A method, one run for each seed."""

    method: str
    words: tuple[str, ...]
    runs: tuple[Run, ...]

    def command(self) -> str:
        """What does these runs, as somebody else would type it."""
        seeds = [run.seed for run in self.runs]
        told = [_elsewhere(word) for word in self.words if not word.startswith(_PLACES)]
        several = len(seeds) > 1
        return " ".join(["python run.py", *(["-m"] if several else []), *told, f"seed={','.join(map(str, seeds))}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A row of the table under one schedule. candidates: of which validation chooses; epochs: the stages' lengths, in
    words, against those of the full version."""

    row: Row
    schedule: Schedule
    candidates: tuple[Candidate, ...]
    epochs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for. changes: overrides from the command line; only: a part of the label of the rows that are
    wanted."""

    recipe: Recipe
    schedules: Sequence[Schedule]
    scale: Scale
    seeds: Sequence[int]
    changes: Sequence[str] = ()
    only: str | None = None
    config_dir: str | None = None

    @property
    def rows(self) -> list[Row]:
        return [row for row in self.recipe.rows if self.only is None or self.only in row.label]


def cells(order: Order, watcher: Watcher) -> list[Cell]:
    """Everything that there is to run; its images are decoded. ConfigError for what the user has to change."""
    wanted = [(row, schedule) for schedule in order.schedules for row in order.rows if row.overrides is not None]
    return [_cell(order, row, schedule, watcher) for row, schedule in wanted]


def _cell(order: Order, row: Row, schedule: Schedule, watcher: Watcher) -> Cell:
    chosen = ("hints",) if schedule == "paper" or row.side == "teacher" else CANDIDATES
    methods = [None] if row.names_method else [f"method={name}" for name in chosen]
    candidates, lengths = [], set()
    for method in methods:
        full = compose.load(_words(order, row, schedule, method), order.config_dir)
        words = tuple(_words(order, row, schedule, method, order.scale.overrides(full)))
        config = compose.load(list(words), order.config_dir)
        precision = engine.precision(config, engine.device(config.engine))
        if config.engine.precision == "auto":  # so that the command gives these hashes on other machines too
            words = (*words, f"engine.precision={precision}")
            config = replace(config, engine=replace(config.engine, precision=precision))
        digest = data.digest(config.dataset, config.root, watcher)
        runs = tuple(_run(replace(config, seed=seed), words, digest) for seed in order.seeds)
        candidates.append(Candidate(method=config.method.name, words=words, runs=runs))
        lengths.add(order.scale.epochs_told(full))
    return Cell(row=row, schedule=schedule, candidates=tuple(candidates), epochs="; ".join(sorted(lengths)))


def _words(order: Order, row: Row, schedule: Schedule, method: str | None, small: Sequence[str] = ()) -> list[str]:
    """The overrides of a run. Those of the command line replace the recipe's, and win over the scale's."""
    assert row.overrides is not None
    words = [*order.recipe.shared, *row.overrides, *([method] if method else []), f"schedule={schedule}"]
    if schedule == "paper":
        words.append("schedule.equal_epochs=true")
    changed = {_key(word) for word in order.changes}
    return [*(word for word in (*words, *small) if _key(word) not in changed), *order.changes]


def _key(word: str) -> str:
    return word.lstrip("+~").split("=")[0]


def _run(config: Config, words: tuple[str, ...], digest: str) -> Run:
    precision = config.engine.precision
    assert precision != "auto"
    return Run(config=config, words=words, hash=plan.hashes(config, digest, precision).run)


def distinct(cells: Sequence[Cell]) -> list[Run]:
    """The runs of some cells, each once, all methods of a seed before the next seed: a table that is stopped half-way
    compares what it has."""
    found = {run.hash: run for cell in cells for candidate in cell.candidates for run in candidate.runs}
    return sorted(found.values(), key=lambda run: run.seed)


def _elsewhere(word: str) -> str:
    """The word in the words of somebody whose files lie elsewhere."""
    key = _key(word)
    return f"{key}=DIR" if key in ("dataset.path", "dataset.split_file") else word
