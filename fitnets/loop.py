"""The one training loop. It knows no teacher and no tracker: an objective steps, an observer is told."""

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fitnets.config import Stage
from fitnets.data import Data
from fitnets.objectives import Objective, train_mode
from fitnets.optimizers import LayerOptimizer
from fitnets.options import ToldError
from fitnets.seeds import seed_of


class DivergedError(ToldError, RuntimeError):
    """A loss that is not finite; no update was made from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch's record. epoch: from 0; train: means over its updates; valid: after it; lr: of its first update."""

    stage: str
    epoch: int
    images: int
    lr: float
    train: dict[str, float]
    valid: dict[str, float]
    best: bool
    seconds: float


class Observer(Protocol):
    def on_step(self) -> None: ...

    def on_epoch(self, epoch: Epoch) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a stage came to: its best epoch's weights are in the network."""

    epochs: int
    best_epoch: int
    images: int
    stopped_by: str


def fit(
    objective: Objective,
    data: Data,
    *,
    seed: int,
    eval_batch_size: int,
    observer: Observer,
    known_epochs: int | None = None,
) -> Fitted:
    """Train the objective's layers; keep the epoch with the smallest watched values on validation.

    known_epochs: train for so many instead, select nothing and keep the last weights (for retraining, where the
    validation images are trained on). Order of the images, their views and dropout are functions of (seed, stage,
    epoch). Raises DivergedError before an update from a loss that is not finite."""
    stage = objective.stage
    optimizer = LayerOptimizer(objective.layers, stage, steps_per_epoch=len(data.train) // stage.batch_size)
    selection = _Selection(objective) if known_epochs is None else None
    for epoch in range(known_epochs or stage.epochs):
        started, lr = time.perf_counter(), optimizer.lr
        means = _epoch(objective, data, optimizer, epoch, seed=seed, observer=observer)
        valid: dict[str, float] = {}
        if selection is not None:
            valid = objective.validate(data.valid, eval_batch_size)
            if not all(map(math.isfinite, valid.values())):
                raise DivergedError(_divergence(objective.name, f"on validation after epoch {epoch}", valid, lr))
        observer.on_epoch(
            Epoch(
                stage=objective.name if selection else f"retrain_{objective.name}",
                epoch=epoch,
                images=optimizer.step_count * stage.batch_size,
                lr=lr,
                train=means,
                valid=valid,
                best=selection is not None and selection.takes(epoch, valid),
                seconds=time.perf_counter() - started,
            )
        )
        stopped_by = _reason_to_stop(stage, optimizer.step_count, epoch - selection.progress_epoch if selection else 0)
        if stopped_by != "epochs":
            break
    if selection is not None:
        selection.restore()
    return Fitted(
        epochs=epoch + 1,
        best_epoch=selection.epoch if selection else epoch,
        images=optimizer.step_count * stage.batch_size,
        stopped_by=stopped_by,
    )


class _Selection:
    """The epoch with the smallest watched values so far, and its weights.

    `progress_epoch`: the last one that made the first watched value smaller; a tie does not prolong patience."""

    def __init__(self, objective: Objective):
        self.objective = objective
        self.best: tuple[float, ...] = (math.inf,)
        self.epoch = self.progress_epoch = 0
        self.weights = self._snapshot()

    def takes(self, epoch: int, valid: dict[str, float]) -> bool:
        watched = tuple(valid[name] for name in self.objective.watched)
        if watched[0] < self.best[0]:
            self.progress_epoch = epoch
        if watched < self.best:
            self.best, self.epoch, self.weights = watched, epoch, self._snapshot()
            return True
        return False

    def restore(self) -> None:
        for name, layer in self.objective.layers.items():
            layer.load_state_dict(self.weights[name])

    def _snapshot(self) -> dict[str, dict[str, Tensor]]:
        """Copies of the trained layers' state, by layer."""
        return {
            name: {key: value.clone() for key, value in layer.state_dict().items()}
            for name, layer in self.objective.layers.items()
        }


def _reason_to_stop(stage: Stage, steps: int, epochs_without_progress: int) -> str:
    """What ends the stage after this epoch; "epochs": it goes on until they are used up."""
    if stage.max_steps is not None and steps >= stage.max_steps:
        return "max_steps"
    if stage.patience is not None and epochs_without_progress >= stage.patience:
        return "patience"
    return "epochs"


def _epoch(
    objective: Objective, data: Data, optimizer: LayerOptimizer, epoch: int, *, seed: int, observer: Observer
) -> dict[str, float]:
    """One pass over the shuffled images, each in the view of this epoch; means of the loss and its terms."""
    stage = objective.stage
    epoch_seed = seed_of(objective.name, seed, epoch)
    torch.manual_seed(epoch_seed)
    train_mode(objective)
    sums: dict[str, Any] = {}
    batches = 0
    for rows in data.train.shuffled(stage.batch_size, epoch_seed):
        if optimizer.step_count == stage.max_steps:
            break
        images, labels = data.train.view(rows, epoch, stage.augmentation, data.view_seed)
        loss, terms = objective.step(images, labels, epoch)
        told = {
            name: value.detach() if isinstance(value, Tensor) else value
            for name, value in {"train_loss": loss, **terms}.items()
        }
        if not torch.isfinite(loss):  # costs a GPU one wait a step, and keeps the weights clean
            where = f"in epoch {epoch}, step {batches}, before the update"
            raise DivergedError(_divergence(objective.name, where, told, optimizer.lr))
        optimizer.update(loss)
        for name, value in told.items():
            sums[name] = sums.get(name, 0.0) + value
        batches += 1
        observer.on_step()
    return {name: float(total) / batches for name, total in sums.items()}


def _divergence(stage: str, where: str, told: dict[str, Any], lr: float) -> str:
    values = ", ".join(f"{name} {float(value):.4g}" for name, value in told.items())
    return (
        f"the {stage} stage diverged {where} (epochs and steps count from 0): {values}, lr {lr:.4g}\n"
        f"give a smaller schedule.{stage}.optimizer.lr"
    )
