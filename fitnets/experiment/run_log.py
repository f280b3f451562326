"""The record of a run, epoch by epoch: its rows go to `metrics.jsonl`, the tracker, the terminal and the caller."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fitnets.errors import StageStoppedError
from fitnets.experiment.stage_progress import StageProgress
from fitnets.store import files
from fitnets.store.locks import Lock
from fitnets.tracking.tracker import Tracker
from fitnets.training.state import Epoch, TrainingState

EpochCallback = Callable[[dict[str, Any]], None]
"""receives the row of every epoch, as `as_row` builds it"""


class RunLog:
    """Sends the row of every epoch of every stage to `metrics.jsonl`, the tracker and the caller. `step` counts the
    rows from the start of the run.

    earlier_s: seconds that previous processes spent on the stages that were resumed here"""

    def __init__(self, lock: Lock, tracker: Tracker, on_epoch: EpochCallback | None):
        """lock: the lock of the run, in whose directory `metrics.jsonl` lies"""
        self.lock = lock
        self.on_epoch = on_epoch
        self.file = files.MetricsFile(lock.directory / "metrics.jsonl")
        self.tracker = tracker
        self.step = 0
        self.earlier_s = 0.0

    def append(self, row: dict[str, Any]) -> None:
        """Log one epoch. Raises LostLockError if another process has taken over the run's lock."""
        self.lock.check()
        self.file.append({"step": self.step, **row})
        self.tracker.log(self.step, row)
        self.step += 1
        if self.on_epoch is not None:
            self.on_epoch(row)

    def replay(self, stored: Iterable[dict[str, Any]]) -> None:
        """Log the epochs of stages that the store has. Their last epochs end them anyway."""
        rows = list(stored)
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            with unless(following is None or following["stage"] != row["stage"]):
                self.append(row)


@contextmanager
def unless(has_ended: bool) -> Iterator[None]:
    """Ignore a StageStoppedError of the block if the stage has ended by itself."""
    try:
        yield
    except StageStoppedError:
        if not has_ended:
            raise


class EpochObserver:
    """Observes the training loop: shows every step and epoch, and passes the row of every epoch to the callbacks. The
    epochs of a checkpoint are passed on when a stage resumes."""

    def __init__(self, progress: StageProgress, callbacks: Sequence[EpochCallback]):
        self.progress = progress
        self.callbacks = callbacks

    def on_resume(self, state: TrainingState) -> None:
        self.progress.on_resume(state)
        for epoch in state.epochs:
            with unless(epoch is state.epochs[-1] and state.ended_by is not None):
                self._pass_on(epoch)

    def on_step(self) -> None:
        self.progress.on_step()

    def on_epoch(self, epoch: Epoch) -> None:
        self.progress.on_epoch(epoch)
        self._pass_on(epoch)

    def _pass_on(self, epoch: Epoch) -> None:
        for callback in self.callbacks:
            callback(as_row(epoch))


def as_row(epoch: Epoch) -> dict[str, Any]:
    """A line of `metrics.jsonl`: losses in nats (hint loss: squared activations), errors as fractions."""
    return {
        "stage": epoch.stage,
        "epoch": epoch.epoch,
        "images": epoch.images,
        "lr": epoch.lr,
        **epoch.train,
        **epoch.valid,
        "best": epoch.best,
        "timing": {
            "seconds": epoch.seconds,
            "validation_seconds": epoch.validation_seconds,
            "teacher_seconds": epoch.teacher_seconds,
        },
    }
