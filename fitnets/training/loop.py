"""The one training loop. It knows no teacher and no tracker: an stage steps, an observer is told."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch

from fitnets.config.seeds import seed_of
from fitnets.data.augmentation import Views
from fitnets.data.splits import Batch, Data, Split
from fitnets.errors import ConfigError, DivergedError
from fitnets.signals import Stopped, held
from fitnets.training.checkpoints import Checkpoints
from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.stages import TrainingStage, train_mode
from fitnets.training.state import Epoch, Selection, TrainingState, made_on
from fitnets.training.teacher_cache import CachedTeacher


class StageObserver(Protocol):
    def on_resume(self, state: TrainingState) -> None:
        """Called before a stage goes on from a checkpoint, with what was done before it."""

    def on_step(self) -> None:
        """Called after every update. No signal ends it half-way but a second one."""

    def on_epoch(self, epoch: Epoch) -> None:
        """Called after every epoch and its validation, before the checkpoint that counts it; the same of signals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage came to: its best epoch's weights are in the network. earlier_s: seconds that processes before this
    one worked at it, up to the checkpoint that it went on from."""

    epochs: int
    best_epoch: int
    images: int
    stopped_by: str
    earlier_s: float


def fit(
    stage: TrainingStage,
    data: Data,
    *,
    seed: int,
    eval_batch_size: int,
    observer: StageObserver,
    views: Views | None = None,
    known_epochs: int | None = None,
    checkpoints: Checkpoints | None = None,
) -> StageOutcome:
    """Train the stage's layers; keep the epoch with the smallest selected_by values on validation.

    views: of the training images; None: another one in every epoch. known_epochs: train for so many instead, select
    nothing and keep the last weights (for retraining, where the validation images are trained on). checkpoints: where
    an earlier process may have left one to go on from. Order of the images, their views and dropout are functions of
    (seed, stage, epoch). Raises DivergedError where a loss is not finite; no weights after it are kept.

    Inside an epoch a GPU is never waited for but for checkpoints."""
    settings = stage.settings
    views = views or data.views(settings.augmentation)
    optimizer = LayerOptimizer(stage.layers, settings, steps_per_epoch=len(data.train) // settings.batch_size)
    selection = Selection(stage) if known_epochs is None else None
    device = next(stage.network.parameters()).device
    state = TrainingState(stage, optimizer, selection, made_on(device, eval_batch_size, stage.teacher_outputs))
    if checkpoints is not None:
        _resume(state, checkpoints, observer)
    state.clock.start()
    with _saved_when_stopped(state, checkpoints):
        while state.ended_by is None:
            if isinstance(stage.teacher_outputs, CachedTeacher):  # which may take long, and can be interrupted here
                stage.teacher_outputs.open(views.view_of_epoch(state.epoch))
            state.epoch_clock.start()
            means = _epoch(state, _batches(state, data, views, seed), observer, checkpoints)
            trained_s = state.epoch_clock.elapsed_s
            valid = {} if selection is None else _validated(state, data.valid, eval_batch_size)
            with held():
                done = _finish_epoch(state, means, valid, trained_s)
                state.ended_by = _end(state, known_epochs or settings.epochs)
                observer.on_epoch(done)
                if checkpoints is not None and (state.ended_by or checkpoints.is_due(epoch_end=True)):
                    checkpoints.save(state.tensors(), state.facts())
    if selection is not None:
        selection.restore()
    return StageOutcome(
        epochs=state.epoch,
        best_epoch=selection.epoch if selection else state.epoch - 1,
        images=optimizer.step_count * settings.batch_size,
        stopped_by=state.ended_by,
        earlier_s=state.clock.earlier_s,
    )


def _finish_epoch(state: TrainingState, means: dict[str, float], valid: dict[str, float], trained_s: float) -> Epoch:
    """The record of the epoch, which is counted, and kept if it is the best. trained_s: seconds before validation."""
    selection, seconds = state.selection, state.epoch_clock.elapsed_s
    name = state.stage.name
    done = Epoch(
        stage=name if selection else f"retrain_{name}",
        epoch=state.epoch,
        images=state.optimizer.step_count * state.stage.settings.batch_size,
        lr=state.lr,
        train=means,
        valid=valid,
        best=selection is not None and selection.takes(state.epoch, valid),
        seconds=seconds,
        validation_seconds=seconds - trained_s,
    )
    state.finish_epoch(done)
    return done


@contextmanager
def _saved_when_stopped(state: TrainingState, checkpoints: Checkpoints | None) -> Iterator[None]:
    """A process that is asked to leave writes a checkpoint first. What changes the state is held against such requests;
    where an impatient second one tears it all the same, the checkpoint before stays the last."""
    try:
        yield
    except Stopped as stopped:
        if checkpoints is not None and not stopped.is_torn:
            _check_finite(state)
            checkpoints.save(state.tensors(), state.facts())
        raise


def _resume(state: TrainingState, checkpoints: Checkpoints, observer: StageObserver) -> None:
    """Go on from the newest checkpoint, if there is one. ConfigError where that would change the result."""
    found = checkpoints.load()
    if found is None:
        return
    tensors, facts = found
    if facts["made_on"] != state.made_on:
        problem = (
            f"the {state.stage.name} stage was begun with {_in_words(facts['made_on'])} and would go on with "
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
    settings, selection = state.stage.settings, state.selection
    if settings.max_steps is not None and state.optimizer.step_count >= settings.max_steps:
        return "max_steps"
    idle = 0 if selection is None else state.epoch - 1 - selection.progress_epoch
    if settings.patience is not None and idle >= settings.patience:
        return "patience"
    return "epochs" if state.epoch == epochs else None


def _batches(state: TrainingState, data: Data, views: Views, seed: int) -> Iterator[Batch]:
    """What is left of the epoch's shuffled images, each in the view of this epoch."""
    settings, seed_of_epoch = state.stage.settings, seed_of(state.stage.name, seed, state.epoch)
    if state.batches == 0:
        torch.manual_seed(seed_of_epoch)
    for rows in islice(data.train.shuffled(settings.batch_size, seed_of_epoch), state.batches, None):
        yield data.train.viewed(rows, views.view_of_epoch(state.epoch), views)


def _epoch(
    state: TrainingState, batches: Iterator[Batch], observer: StageObserver, checkpoints: Checkpoints | None
) -> dict[str, float]:
    """An update from each batch; means of the loss and its terms."""
    stage, optimizer = state.stage, state.optimizer
    is_at_hand = state.device.type == "cpu"
    if state.batches == 0:
        state.lr = optimizer.lr
    train_mode(stage)
    while optimizer.step_count != stage.settings.max_steps:
        with held():
            batch = next(batches, None)
            if batch is None:
                break
            _step(state, batch)
            observer.on_step()
            is_due = checkpoints is not None and checkpoints.is_due(epoch_end=False)
            if is_at_hand or is_due:
                _check_finite(state)
            if checkpoints is not None and is_due:
                checkpoints.save(state.tensors(), state.facts())
    _check_finite(state)
    return state.means()


def _step(state: TrainingState, batch: Batch) -> None:
    loss, terms = state.stage.step(batch, state.epoch)
    state.optimizer.update(loss)
    state.finish_batch({"train_loss": loss, **terms})


def _check_finite(state: TrainingState) -> None:
    """A loss of this epoch that was not finite has left a sum that is not."""
    if state.batches and not math.isfinite(float(state.sums["train_loss"])):
        where = f"in epoch {state.epoch}, by step {state.batches - 1}"
        raise DivergedError(_divergence(state.stage.name, where, state.means(), state.optimizer.lr))


def _validated(state: TrainingState, valid: Split, eval_batch_size: int) -> dict[str, float]:
    """The selected_by values, all finite."""
    found = state.stage.validate(valid, eval_batch_size)
    if not all(map(math.isfinite, found.values())):
        where = f"on validation after epoch {state.epoch}"
        raise DivergedError(_divergence(state.stage.name, where, found, state.lr))
    return found


def _divergence(stage: str, where: str, told: dict[str, float], lr: float) -> str:
    values = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
    return (
        f"the {stage} stage diverged {where} (epochs and steps count from 0): {values}, lr {lr:.4g}\n"
        f"give a smaller schedule.{stage}.optimizer.lr"
    )
