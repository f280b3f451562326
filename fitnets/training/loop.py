"""The training loop that all stages share. The stage computes losses, and an observer receives the results."""

import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

import torch

from fitnets.config.seeds import seed_of
from fitnets.data.augmentation import Views
from fitnets.data.splits import Batch, Data, Split
from fitnets.errors import ConfigError, DivergedError, StageStoppedError
from fitnets.parallel.group import ALONE, Group
from fitnets.signals import Stopped, delay_signals
from fitnets.training import shared_state, statistics
from fitnets.training.checkpoints import Checkpoints
from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.stages import Stage, train_mode
from fitnets.training.state import (
    PROCESSES,
    Average,
    Epoch,
    Selection,
    TrainingState,
    load,
    made_on,
    network_weights,
    using,
)
from fitnets.training.teacher_cache import CachedTeacher


class StageObserver(Protocol):
    """Receives the progress of a stage.

    A first SIGINT or SIGTERM is delayed until `on_step` or `on_epoch` returns; a second one interrupts it."""

    def on_resume(self, state: TrainingState) -> None:
        """Called once before a stage resumes from a checkpoint. state: as restored from the checkpoint."""

    def on_step(self) -> None:
        """Called after every update."""

    def on_epoch(self, epoch: Epoch) -> None:
        """Called after every epoch and its validation, before the checkpoint that includes the epoch. A
        StageStoppedError that it raises is raised after that checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """Summary of a finished stage, whose best weights are in the network.

    epochs: epochs trained.
    best_epoch: number of the epoch whose weights were kept, from 0.
    images: training images seen.
    stopped_by: "epochs", "patience", "max_steps" or "stop_after".
    earlier_s: seconds that earlier processes spent on the stage, up to the checkpoint resumed here.
    teacher_s: seconds of all processes in which the teacher's outputs were computed into tables, or awaited."""

    epochs: int
    best_epoch: int
    images: int
    stopped_by: str
    earlier_s: float
    teacher_s: float


def fit(
    stage: Stage,
    data: Data,
    *,
    seed: int,
    eval_batch_size: int,
    observer: StageObserver,
    views: Views | None = None,
    fixed_epochs: int | None = None,
    checkpoints: Checkpoints | None = None,
    group: Group = ALONE,
) -> StageOutcome:
    """Train the stage's layers and keep the epoch with the smallest `selected_by` values on validation.

    eval_batch_size: images per batch on validation.
    views: augmented versions of the training images; None for new versions in every epoch.
    fixed_epochs: number of epochs for retraining, which uses the validation images too. The last weights, or their
    average, are kept, without validation.
    checkpoints: saves the state, and resumes from the newest checkpoint; None saves and resumes nothing. In a group it
    is None in all processes, or in none.
    group: the processes that train the stage together. Each of them calls this function. A batch is split by rows, and
    all of them end with the weights of process 0.

    The order of the images and their views are functions of (seed, stage, epoch), dropout also of the process's rank.

    Raises DivergedError if a loss is not finite; no checkpoint holds the weights after it. Raises ConfigError if
    resuming would change the result.

    Inside an epoch the loop waits for a GPU only to save a checkpoint."""
    settings = stage.settings
    views = views or data.views(settings.augmentation)
    stage.begin(data.train)
    optimizer = LayerOptimizer(stage.layers, settings, steps_per_epoch=len(data.train) // settings.batch_size)
    selection = Selection(stage) if fixed_epochs is None else None
    device = next(stage.network.parameters()).device
    state = TrainingState(stage, optimizer, selection, made_on(device, eval_batch_size, stage, group.size), group)
    with group.together():
        if checkpoints is not None:
            group.led(partial(_resume, state, checkpoints, observer, fixed_epochs))
        shared_state.share(state)
        state.clock.start()
        with _saved_when_stopped(state, checkpoints):
            while state.ended_by is None:
                if isinstance(stage.teacher_outputs, CachedTeacher):  # making tables may take long: signals end it
                    state.teacher_clock.start()
                    stage.teacher_outputs.open(views.view_of_epoch(state.epoch), group, validation=stage.is_partial)
                    state.teacher_clock.stop()
                state.epoch_clock.start()
                with closing(_batches(state, data, views, seed)) as batches:
                    means = _epoch(state, batches, observer, checkpoints)
                trained_s = state.epoch_clock.elapsed_s
                average = _with_own_statistics(state.next_average(settings.epochs), state, data, views, seed)
                with using(average, stage):
                    valid = {} if selection is None else _validated(state, data.valid, eval_batch_size)
                with delay_signals():
                    with using(average, stage):
                        record = _finish_epoch(state, means, valid, trained_s)
                    state.average = average
                    state.ended_by = group.from_leader(_why_ended(state, fixed_epochs or settings.epochs))
                    _report(state, record, observer, checkpoints)
        if selection is not None:
            selection.restore()
        elif state.average is not None:
            load(state.average, stage)
        shared_state.check_equal(state)
    return StageOutcome(
        epochs=state.epoch,
        best_epoch=selection.epoch if selection else state.epoch - 1,
        images=optimizer.step_count * settings.batch_size,
        stopped_by=state.ended_by,
        earlier_s=state.clock.earlier_s,
        teacher_s=sum(epoch.teacher_seconds for epoch in state.epochs),
    )


def _report(state: TrainingState, record: Epoch, observer: StageObserver, checkpoints: Checkpoints | None) -> None:
    """Pass an epoch to the observer, and save a checkpoint if one is due. Raises the observer's StageStoppedError after
    that checkpoint, unless the stage has ended by itself."""
    has_ended = state.ended_by is not None

    def observe() -> StageStoppedError | None:
        try:
            observer.on_epoch(record)
        except StageStoppedError as stopped:
            return None if has_ended else stopped
        return None

    stopped = state.group.led(observe)
    if checkpoints is not None:
        is_due = has_ended or stopped is not None or checkpoints.is_due(epoch_end=True)
        _save_if(state.group.from_leader(is_due), state, checkpoints)
    if stopped is not None:
        stopped.checkpoints = None if checkpoints is None else checkpoints.folder
        raise stopped


def _finish_epoch(state: TrainingState, means: dict[str, float], valid: dict[str, float], trained_s: float) -> Epoch:
    """Count the epoch, keep its weights if it is the best, return its record. trained_s: seconds before validation."""
    selection, seconds = state.selection, state.epoch_clock.elapsed_s
    name = state.stage.name
    record = Epoch(
        stage=name if selection else f"retrain_{name}",
        epoch=state.epoch,
        images=state.optimizer.step_count * state.stage.settings.batch_size,
        lr=state.lr,
        train=means,
        valid=valid,
        best=selection is not None and selection.update(state.epoch, valid),
        seconds=seconds,
        validation_seconds=seconds - trained_s,
        teacher_seconds=state.teacher_clock.elapsed_s,
    )
    state.finish_epoch(record)
    return record


@contextmanager
def _saved_when_stopped(state: TrainingState, checkpoints: Checkpoints | None) -> Iterator[None]:
    """Save a checkpoint when a signal stops the process inside this block.

    Blocks that change the state delay the first signal. A second signal can interrupt them half-way; then nothing is
    saved, and the previous checkpoint stays the newest."""
    try:
        yield
    except Stopped as stopped:
        if checkpoints is not None and not stopped.is_torn and state.group.has_agreed_on(stopped):
            _check_finite(state)
            _save(state, checkpoints)
        raise


def _save(state: TrainingState, checkpoints: Checkpoints) -> None:
    """Save a checkpoint, with the state of the random numbers of all processes."""
    random_states = state.group.gathered(state.random_state())

    def write() -> None:
        tensors = state.tensors()
        for random_state in random_states:
            tensors |= random_state
        checkpoints.save(tensors, state.facts())

    state.group.led(write)


def _resume(state: TrainingState, checkpoints: Checkpoints, observer: StageObserver, fixed_epochs: int | None) -> None:
    """Resume from the newest checkpoint, if there is one. Raises ConfigError if that would change the result."""
    checkpoint = checkpoints.load()
    if checkpoint is None:
        return
    tensors, facts = checkpoint
    started_on = facts["made_on"]
    if started_on != state.made_on:
        problem = (
            f"the {state.stage.name} stage was started with {_in_words(started_on, state.made_on)}; resuming it with "
            f"{_in_words(state.made_on, started_on)} would change the result"
        )
        if not checkpoints.restart_on_other_machine:
            raise ConfigError(f"{problem}: give the same settings, or rerun=true to restart")
        checkpoints.say(f"{problem}: restarting the stage")
        return
    state.restore(tensors, facts)
    if state.ended_by is None and state.epoch > 0 and state.batches == 0:  # the stage may be shorter now
        state.ended_by = _why_ended(state, fixed_epochs or state.stage.settings.epochs)
    observer.on_resume(state)


def _in_words(made_on: dict[str, Any], other: dict[str, Any]) -> str:
    """other: what it is compared with. Their numbers of processes are shown if one has several."""
    shown = {PROCESSES: 1} | made_on if PROCESSES in other else made_on
    return " ".join(f"{key}={value}" for key, value in shown.items())


def _why_ended(state: TrainingState, epochs: int) -> str | None:
    """The reason why the stage ends after this epoch; None if another epoch follows."""
    settings, selection = state.stage.settings, state.selection
    if settings.max_steps is not None and state.optimizer.step_count >= settings.max_steps:
        return "max_steps"
    if settings.stop_after is not None and selection is not None and state.epoch >= settings.stop_after:
        return "stop_after"
    idle = 0 if selection is None else state.epoch - 1 - selection.progress_epoch
    if settings.patience is not None and idle >= settings.patience:
        return "patience"
    return "epochs" if state.epoch == epochs else None


def _batches(state: TrainingState, data: Data, views: Views, seed: int) -> Generator[Batch, None, None]:
    """The batches that are left of this epoch, shuffled and augmented."""
    settings, seed_of_epoch = state.stage.settings, seed_of(state.stage.name, seed, state.epoch)
    rank = state.group.rank
    if state.batches == 0:
        torch.manual_seed(seed_of("rank", seed_of_epoch, rank) if rank else seed_of_epoch)
    start, stop = state.group.part(settings.batch_size)
    rows = islice(data.train.shuffled(settings.batch_size, seed_of_epoch), state.batches, None)
    mine = (rows_of_batch[start:stop] for rows_of_batch in rows)
    yield from data.train.in_view(mine, views.view_of_epoch(state.epoch), views)


def _with_own_statistics(
    average: Average | None, state: TrainingState, data: Data, views: Views, seed: int
) -> Average | None:
    """The average with running statistics of its own, measured on training images in this epoch's view."""
    stage, batch_size = state.stage, state.stage.settings.batch_size
    if average is None or not statistics.has_statistics(stage):
        return average
    all_rows = data.train.shuffled(batch_size, seed_of("statistics", seed, state.epoch))
    rows = islice(all_rows, -(-statistics.MEASURED_IMAGES // batch_size))
    view = views.view_of_epoch(state.epoch)
    with using(average, stage):
        statistics.measure(stage, (data.train.augmented(some, view, views).images for some in rows))
        shared_state.share_weights(state)  # with dropout each process has measured other ones
        return Average(average.epochs, network_weights(stage))


def _epoch(
    state: TrainingState, batches: Iterator[Batch], observer: StageObserver, checkpoints: Checkpoints | None
) -> dict[str, float]:
    """Do one update for each batch; return the means of the loss and its terms."""
    stage, optimizer = state.stage, state.optimizer
    can_check_every_step = state.device.type == "cpu"  # on a GPU, reading the loss would wait for the update
    if state.batches == 0:
        state.lr = optimizer.lr
    train_mode(stage)
    while optimizer.step_count != stage.settings.max_steps:
        with delay_signals():
            batch = next(batches, None)
            if batch is None:
                break
            _step(state, batch)
            observer.on_step()
            is_due = checkpoints is not None and checkpoints.is_due(epoch_end=False)
            (is_due,) = state.group.agree(is_due)
            if can_check_every_step or is_due:
                _check_finite(state)
            _save_if(is_due, state, checkpoints)
        state.group.raise_stopped()
    _check_finite(state)
    return state.means()


def _save_if(is_due: bool, state: TrainingState, checkpoints: Checkpoints | None) -> None:
    if is_due and checkpoints is not None:
        _save(state, checkpoints)


def _step(state: TrainingState, batch: Batch) -> None:
    if state.group.size > 1:
        shared_state.step(state, batch)
        return
    loss, terms = state.stage.step(batch, state.epoch)
    state.optimizer.update(loss)
    state.finish_batch({"train_loss": loss, **terms})


def _check_finite(state: TrainingState) -> None:
    """Raise DivergedError if any loss of this epoch was not finite: the running sum is then not finite either."""
    is_bad = state.batches > 0 and not math.isfinite(float(state.sums["train_loss"]))
    (is_bad,) = state.group.agree(is_bad)
    if is_bad:
        where = f"in epoch {state.epoch}, by step {state.batches - 1}"
        error = DivergedError(_divergence(state.stage.name, where, state.means(), state.optimizer.lr))
        raise state.group.agreed_error(error)


def _validated(state: TrainingState, valid: Split, eval_batch_size: int) -> dict[str, float]:
    """Validate the stage. Raises DivergedError unless all values are finite."""
    values = state.group.from_leader(state.stage.validate(valid, eval_batch_size, state.group))
    if not all(map(math.isfinite, values.values())):
        where = f"on validation after epoch {state.epoch}"
        raise state.group.agreed_error(DivergedError(_divergence(state.stage.name, where, values, state.lr)))
    return values


def _divergence(stage: str, where: str, values: dict[str, float], lr: float) -> str:
    listed = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return (
        f"the {stage} stage diverged {where} (epochs and steps count from 0): {listed}, lr {lr:.4g}\n"
        f"give a smaller schedule.{stage}.optimizer.lr"
    )
