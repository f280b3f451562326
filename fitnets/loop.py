"""The one training loop. It knows no teacher and no tracker: an objective steps, an observer is told."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from fitnets.checkpoints import Checkpoints
from fitnets.data import Data, Split
from fitnets.objectives import Objective, train_mode
from fitnets.optimizers import LayerOptimizer
from fitnets.options import ConfigError, DivergedError
from fitnets.seeds import seed_of
from fitnets.state import Epoch, Selection, TrainingState, made_on
from fitnets.stopping import Stopped, held


class Observer(Protocol):
    def on_resume(self, state: TrainingState) -> None:
        """Called before a stage goes on from a checkpoint, with what was done before it."""

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
    checkpoints: Checkpoints | None = None,
) -> Fitted:
    """Train the objective's layers; keep the epoch with the smallest watched values on validation.

    known_epochs: train for so many instead, select nothing and keep the last weights (for retraining, where the
    validation images are trained on). checkpoints: where an earlier process may have left one to go on from. Order of
    the images, their views and dropout are functions of (seed, stage, epoch). Raises DivergedError before an update
    from a loss that is not finite."""
    stage = objective.stage
    optimizer = LayerOptimizer(objective.layers, stage, steps_per_epoch=len(data.train) // stage.batch_size)
    selection = Selection(objective) if known_epochs is None else None
    device = next(objective.network.parameters()).device
    state = TrainingState(objective, optimizer, selection, made_on(device, eval_batch_size))
    if checkpoints is not None:
        _resume(state, checkpoints, observer)
    with _saved_when_stopped(state, checkpoints):
        while state.ended_by is None:
            epoch, started = state.epoch, time.perf_counter()
            means = _epoch(state, data, seed_of(objective.name, seed, epoch), observer, checkpoints)
            valid = {} if selection is None else _validated(state, data.valid, eval_batch_size)
            with held():
                done = Epoch(
                    stage=objective.name if selection else f"retrain_{objective.name}",
                    epoch=epoch,
                    images=optimizer.step_count * stage.batch_size,
                    lr=state.lr,
                    train=means,
                    valid=valid,
                    best=selection is not None and selection.takes(epoch, valid),
                    seconds=time.perf_counter() - started,
                )
                state.finish_epoch(done)
                state.ended_by = _end(state, known_epochs or stage.epochs)
                observer.on_epoch(done)
                if checkpoints is not None and (state.ended_by or checkpoints.is_due(epoch_end=True)):
                    checkpoints.save(state.tensors(), state.facts())
    if selection is not None:
        selection.restore()
    return Fitted(
        epochs=state.epoch,
        best_epoch=selection.epoch if selection else state.epoch - 1,
        images=optimizer.step_count * stage.batch_size,
        stopped_by=state.ended_by,
    )


@contextmanager
def _saved_when_stopped(state: TrainingState, checkpoints: Checkpoints | None) -> Iterator[None]:
    """A process that is asked to leave writes a checkpoint first. What changes the state is held against such requests;
    where an impatient second one tears it all the same, the checkpoint before stays the last."""
    try:
        yield
    except Stopped as stopped:
        if checkpoints is not None and not stopped.is_torn:
            checkpoints.save(state.tensors(), state.facts())
        raise


def _resume(state: TrainingState, checkpoints: Checkpoints, observer: Observer) -> None:
    """Go on from the newest checkpoint, if there is one. ConfigError where that would change the result."""
    found = checkpoints.load()
    if found is None:
        return
    tensors, facts = found
    if facts["made_on"] != state.made_on:
        problem = (
            f"the {state.objective.name} stage was begun with {_in_words(facts['made_on'])} and would go on with "
            f"{_in_words(state.made_on)}, to other results"
        )
        if not checkpoints.anew_elsewhere:
            raise ConfigError(f"{problem}: give the same, or rerun=true")
        checkpoints.say(f"{problem}: it is begun anew")
        return
    state.restore(tensors, facts)
    observer.on_resume(state)


def _in_words(machine: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in machine.items())


def _end(state: TrainingState, epochs: int) -> str | None:
    """What ends the stage after this epoch; None: it goes on."""
    stage, selection = state.objective.stage, state.selection
    if stage.max_steps is not None and state.optimizer.step_count >= stage.max_steps:
        return "max_steps"
    idle = 0 if selection is None else state.epoch - 1 - selection.progress_epoch
    if stage.patience is not None and idle >= stage.patience:
        return "patience"
    return "epochs" if state.epoch == epochs else None


def _epoch(
    state: TrainingState, data: Data, seed: int, observer: Observer, checkpoints: Checkpoints | None
) -> dict[str, float]:
    """One pass over the shuffled images, each in the view of this epoch; means of the loss and its terms."""
    objective, optimizer, epoch = state.objective, state.optimizer, state.epoch
    stage = objective.stage
    if state.batches == 0:
        torch.manual_seed(seed)
        state.lr = optimizer.lr
    train_mode(objective)
    for rows in islice(data.train.shuffled(stage.batch_size, seed), state.batches, None):
        if optimizer.step_count == stage.max_steps:
            break
        with held():
            _step(state, *data.train.view(rows, epoch, stage.augmentation, data.view_seed))
            observer.on_step()
            if checkpoints is not None and checkpoints.is_due(epoch_end=False):
                checkpoints.save(state.tensors(), state.facts())
    return {name: float(total) / state.batches for name, total in state.sums.items()}


def _step(state: TrainingState, images: Tensor, labels: Tensor) -> None:
    """One update, from a finite loss."""
    objective, optimizer = state.objective, state.optimizer
    loss, terms = objective.step(images, labels, state.epoch)
    told = {
        name: value.detach() if isinstance(value, Tensor) else value
        for name, value in {"train_loss": loss, **terms}.items()
    }
    if not torch.isfinite(loss):  # costs a GPU one wait a step, and keeps the weights clean
        where = f"in epoch {state.epoch}, step {state.batches}, before the update"
        raise DivergedError(_divergence(objective.name, where, told, optimizer.lr))
    optimizer.update(loss)
    state.finish_batch(told)


def _validated(state: TrainingState, valid: Split, eval_batch_size: int) -> dict[str, float]:
    """The watched values, all finite."""
    found = state.objective.validate(valid, eval_batch_size)
    if not all(map(math.isfinite, found.values())):
        where = f"on validation after epoch {state.epoch}"
        raise DivergedError(_divergence(state.objective.name, where, found, state.lr))
    return found


def _divergence(stage: str, where: str, told: dict[str, Any], lr: float) -> str:
    values = ", ".join(f"{name} {float(value):.4g}" for name, value in told.items())
    return (
        f"the {stage} stage diverged {where} (epochs and steps count from 0): {values}, lr {lr:.4g}\n"
        f"give a smaller schedule.{stage}.optimizer.lr"
    )
