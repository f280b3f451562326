"""Runs a configuration for callers in Python."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitnets.config import Config
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError, StageStoppedError
from fitnets.experiment import pipeline, run_log, stopping  # imports torch, whose state is then saved too
from fitnets.library.composing import compose
from fitnets.library.host import Host, untouched
from fitnets.store import files, layout
from fitnets.store.layout import StoreLayout

Row = dict[str, Any]
OnEpoch = Callable[[Row], object]


class _Stop:
    """The type of STOP."""

    def __repr__(self) -> str:
        return "fitnets.STOP"

    def __reduce__(self) -> str:
        return "STOP"


STOP = _Stop()
"""`on_epoch` returns it to end the stage after this epoch."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run. It holds numbers and paths alone, no networks.

    folder: the run's folder
    values: the content of its result.json; accuracies and errors are fractions, losses are in nats
    epochs: the rows of its metrics.jsonl, one for each epoch of each stage
    trained: whether this call trained; False: the store had the run, and its rows were replayed to `on_epoch`
    stopped_early: whether STOP ended a stage. Such a run has a hash of its own"""

    folder: Path
    values: Mapping[str, Any]
    epochs: Sequence[Row]
    trained: bool
    stopped_early: bool

    @property
    def hash(self) -> str:
        """The name of the run's folder."""
        return self.folder.name

    def __repr__(self) -> str:
        student = self.values["student"]
        figures = [f"{split} {100 * student[key]:.2f} %" for split, key in _ACCURACIES.items() if key in student]
        notes = ["stopped early"] if self.stopped_early else []
        return f"Result({self.folder}: {student['name']}, {', '.join([*figures, *notes])})"


_ACCURACIES = {"validation": "valid_accuracy", "test": "test_accuracy"}


def run(overrides: Sequence[str] | Config = (), on_epoch: OnEpoch | None = None, *, quiet: bool = False) -> Result:
    """Train and measure what the overrides describe, or load the run if the store has it: `fitnets run OVERRIDES`.

    overrides: words such as "dataset=mnist", or a configuration that `compose` returned
    on_epoch: called once with the row of every epoch of every stage, as in metrics.jsonl, in plain Python numbers. Rows
        of stages that the store has, of a resumed run and of a finished one are replayed. It returns STOP to end the
        stage, anything else to go on; what it raises ends the run and is raised here
    quiet: print nothing that the caller need not know

    A stage that STOP ended is the same as with `schedule.STAGE.stop_after`, in a run with that key.

    Raises ConfigError for everything that the caller has to change, DivergedError for a loss that is not finite, and
    KeyboardInterrupt after Ctrl-C: the same call then resumes from the last checkpoint."""
    config = overrides if isinstance(overrides, Config) else compose(overrides)
    if config.sweep.seeds > 1:
        raise ConfigError(
            f"sweep.seeds={config.sweep.seeds}: a run has one seed: call run once for each, with seed=..."
        )
    with untouched() as host:
        caller, terminal = _Caller(host, on_epoch), Terminal(quiet=quiet)
        while True:
            try:
                return _result(config, caller, terminal)
            except StageStoppedError as stopped:
                config = stopping.shortened(config, stopped, terminal)
            except BaseException as error:
                if caller.error is None or caller.error is error:
                    raise
                raise caller.error from None  # such as an OSError of the callback, which became a short message


def _result(config: Config, caller: "_Caller", terminal: Terminal) -> Result:
    """Train or load the run, and replay its rows to the caller if it was loaded. Raises StageStoppedError."""
    caller.rows_of_run = 0
    values = pipeline.run(config, on_epoch=caller.receive, terminal=terminal)
    trained = caller.rows_of_run > 0
    folder = StoreLayout(config.root.resolve()).run(values["hashes"]["run"])
    rows = [_plain(row) for row in files.read_metrics(folder / layout.METRICS)]
    if not trained:
        caller.replay(rows)
    return Result(folder, values, rows, trained, bool(values.get("stopped_early")))


class _Caller:
    """Passes rows on to the caller's callback, each one once, and turns its STOP into StageStoppedError.

    error: what the callback raised
    rows_of_run: rows that the present run has passed on"""

    def __init__(self, host: Host, on_epoch: OnEpoch | None):
        self.host = host
        self.on_epoch = on_epoch
        self.stops: dict[tuple[str, int], bool] = {}
        self.error: BaseException | None = None
        self.rows_of_run = 0

    def receive(self, row: Row) -> None:
        """Pass a row on. Raises StageStoppedError if the callback returned STOP for it. A stage that retrains has as
        many epochs as the first training selected: STOP does not end it."""
        self.rows_of_run += 1
        place = (row["stage"], row["epoch"])
        if self.on_epoch is None:
            return
        if place not in self.stops:
            try:
                self.stops[place] = self.host.call(self.on_epoch, _plain(row)) is STOP
            except BaseException as error:
                self.error = error
                raise
        if self.stops[place] and not row["stage"].startswith("retrain_"):
            raise StageStoppedError(*place)

    def replay(self, rows: Sequence[Row]) -> None:
        """Pass on the rows of a run that the store had. STOP for the last epoch of a stage changes nothing."""
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            with run_log.unless(following is None or following["stage"] != row["stage"]):
                self.receive(row)


def _plain(row: Row) -> Row:
    """A copy of a row in plain Python numbers, without the number that it has in metrics.jsonl."""
    copied: Row = json.loads(json.dumps(row))
    copied.pop("step", None)
    return copied
