"""The record of a run, epoch by epoch: `metrics.jsonl`, the tracker, the terminal and the caller."""

from collections.abc import Callable, Sequence
from typing import Any

from fitnets.experiment.stage_progress import StageProgress
from fitnets.store import files, layout
from fitnets.store.locks import Lock
from fitnets.tracking.wandb_mirror import Tracker
from fitnets.training.state import Epoch, TrainingState

EpochCallback = Callable[[dict[str, Any]], None]
"""is handed the row of every epoch"""


class RunLog:
    """`metrics.jsonl`, its mirror and who watches: every epoch of every stage, numbered from the start of the run.

    `earlier_s`: what processes before this one had worked at the stages that it went on with."""

    def __init__(self, claim: Lock, tracker: Tracker, on_epoch: EpochCallback | None):
        self.claim = claim
        self.on_epoch = on_epoch
        self.file = files.MetricsFile(claim.directory / layout.METRICS)
        self.tracker = tracker
        self.step = 0
        self.earlier_s = 0.0

    def append(self, row: dict[str, Any]) -> None:
        self.claim.check()
        self.file.append({"step": self.step, **row})
        self.tracker.log(self.step, row)
        self.step += 1
        if self.on_epoch is not None:
            self.on_epoch(row)


class EpochObserver:
    """Shows each epoch and hands its row to those who keep it."""

    def __init__(self, progress: StageProgress, keepers: Sequence[EpochCallback]):
        self.progress = progress
        self.keepers = keepers

    def on_resume(self, state: TrainingState) -> None:
        self.progress.on_resume(state)
        for epoch in state.epochs:
            self._keep(epoch)

    def on_step(self) -> None:
        self.progress.on_step()

    def on_epoch(self, epoch: Epoch) -> None:
        self.progress.on_epoch(epoch)
        self._keep(epoch)

    def _keep(self, epoch: Epoch) -> None:
        for keep in self.keepers:
            keep(as_row(epoch))


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
        "timing": {"seconds": epoch.seconds, "validation_seconds": epoch.validation_seconds},
    }
