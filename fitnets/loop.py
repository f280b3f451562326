"""The one training loop. It knows no teacher and no tracker: an objective steps, an observer is told."""

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fitnets.data import Data, Split
from fitnets.objectives import Objective
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


def fit(objective: Objective, data: Data, *, seed: int, eval_batch_size: int, observer: Observer) -> Fitted:
    """Train the objective's layers; keep the epoch with the smallest watched values on validation.

    Patience counts the epochs since the first watched value got smaller; a tie does not prolong it. Order of the images
    and dropout are functions of (seed, stage, epoch). Raises DivergedError before an update from a loss that is not
    finite."""
    stage = objective.stage
    optimizer = LayerOptimizer(objective.layers, stage, steps_per_epoch=len(data.train) // stage.batch_size)
    best: tuple[float, ...] = (math.inf,)
    best_epoch, progress_epoch, best_weights = 0, 0, _snapshot(objective)
    for epoch in range(stage.epochs):
        started = time.perf_counter()
        lr = optimizer.lr
        means = _epoch(
            objective, data.train, optimizer, epoch, seed=seed_of(objective.name, seed, epoch), observer=observer
        )
        valid = objective.validate(data.valid, eval_batch_size)
        if not all(map(math.isfinite, valid.values())):
            raise DivergedError(_divergence(objective.name, f"on validation after epoch {epoch}", valid, lr))
        watched = tuple(valid[name] for name in objective.watched)
        if watched[0] < best[0]:
            progress_epoch = epoch
        improved = watched < best
        if improved:
            best, best_epoch, best_weights = watched, epoch, _snapshot(objective)
        images = optimizer.step_count * stage.batch_size
        seconds = time.perf_counter() - started
        observer.on_epoch(
            Epoch(
                stage=objective.name,
                epoch=epoch,
                images=images,
                lr=lr,
                train=means,
                valid=valid,
                best=improved,
                seconds=seconds,
            )
        )
        if stage.patience is not None and epoch - progress_epoch >= stage.patience:
            break
    for name, layer in objective.layers.items():
        layer.load_state_dict(best_weights[name])
    stopped_by = "epochs" if epoch + 1 == stage.epochs else "patience"
    return Fitted(epochs=epoch + 1, best_epoch=best_epoch, images=images, stopped_by=stopped_by)


def _epoch(
    objective: Objective, train: Split, optimizer: LayerOptimizer, epoch: int, *, seed: int, observer: Observer
) -> dict[str, float]:
    """One pass over the shuffled images; means of the loss and its terms."""
    torch.manual_seed(seed)
    objective.train_mode()
    sums: dict[str, Any] = {}
    batches = 0
    for rows in train.shuffled(objective.stage.batch_size, seed):
        loss, terms = objective.step(*train.batch(rows), epoch)
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


def _snapshot(objective: Objective) -> dict[str, dict[str, Tensor]]:
    """Copies of the trained layers' state, by layer."""
    return {
        name: {key: value.clone() for key, value in layer.state_dict().items()}
        for name, layer in objective.layers.items()
    }
