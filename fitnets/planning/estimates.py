"""How long a run will take here, if no stage stops early: a few updates of each stage are measured on copies."""

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fitnets.machine import latency
from fitnets.models.network import freeze
from fitnets.planning.plan import Plan
from fitnets.training import metrics
from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.similarity import DIAGNOSED
from fitnets.training.stages import TrainingStage, train_mode
from fitnets.training.teacher_cache import TeacherCache
from fitnets.training.teacher_outputs import FixedOutputs

ONCE_S, QUICK_S, THOROUGH_S = -1.0, 0.0, 1.0
"""how long each thing is measured: once, not longer than a run can wait for it, or as long as noise wants"""
_AFFORDABLE_S = 0.3
"""of a step that many runs are measured with"""
_ANSWERED = 64
"""images of a batch that the teacher's answers are measured with"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """step_s: of an update; steps: how many at most; validation_s: of one; tables_s: of computing the teacher's answers
    once; retrained_steps: on training and validation images, afterwards; epoch_s: of an epoch with its validation."""

    name: str
    step_s: float
    steps: float
    validation_s: float
    validations: int
    tables_s: float
    retrained_steps: float
    epoch_s: float

    @property
    def total_s(self) -> float:
        trained = (self.steps + self.retrained_steps) * self.step_s + self.validations * self.validation_s
        return trained + self.tables_s * (2 if self.retrained_steps else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rough:
    """Times of many runs, in seconds rather than minutes: long steps are measured on few images, and the teacher's
    outputs once.

    images: of such a step
    answering: seconds that the teacher takes for an image, by network and layers; grows"""

    images: int = 8
    answering: dict[str, float] = field(default_factory=dict)


def stages(
    plan: Plan, budget_s: float, library: TeacherCache | None = None, rough: Rough | None = None
) -> list[StageTime]:
    """Of the stages that are still to be trained.

    library: of a trained teacher, which may have tables already
    rough: how to measure many runs; None: each on whole batches"""
    found = []
    if plan.teacher_stage is not None and not plan.teacher_is_trained:
        found.append(_stage(plan, plan.teacher_stage, budget_s, library, rough))
    for stage in plan.stages:
        if not (stage.name == "hint" and plan.hint_is_trained):
            found.append(_stage(plan, stage, budget_s, library, rough))
    return found


def _stage(
    plan: Plan, stage: TrainingStage, budget_s: float, library: TeacherCache | None, rough: Rough | None
) -> StageTime:
    settings, train, valid, schedule = stage.settings, plan.data.train, plan.data.valid, plan.config.schedule
    retrained = schedule.retrain_teacher if stage is plan.teacher_stage else schedule.retrain_student
    per_epoch = len(train) // settings.batch_size
    steps = float(settings.epochs * per_epoch)
    if settings.max_steps is not None:
        steps = min(steps, settings.max_steps)
    need = plan.cache_plan(stage, plan.data)
    is_looked_up = need is not None and need.cached == need.layers
    tables_s = 0.0
    if need is not None and is_looked_up:
        images = need.tables * need.views.images_per_view * len(train) + len(valid)
        if library is not None:
            images = library.missing_outputs(need, plan.data) // len(need.cached)
        tables_s = images * _answering_s(plan, stage, budget_s, rough)
    step_s = _step_s(plan, stage, is_looked_up, budget_s, rough)
    validation_s = step_s * len(valid) / settings.batch_size / 3  # the forward third of a step
    if budget_s > QUICK_S:
        validation_s = _validation_s(plan, stage, is_looked_up, budget_s)
    return StageTime(
        name=stage.name,
        step_s=step_s,
        steps=steps,
        validation_s=validation_s,
        epoch_s=step_s * per_epoch + validation_s,
        validations=-(-int(steps) // per_epoch),
        tables_s=tables_s,
        retrained_steps=steps * (1 + len(valid) / len(train)) if retrained else 0.0,
    )


def _answering_s(plan: Plan, stage: TrainingStage, budget_s: float, rough: Rough | None) -> float:
    """Of one image by the teacher."""
    known = {} if rough is None else rough.answering
    key = repr((plan.config.teacher, plan.config.dataset, plan.precision, stage.teacher_layers))
    if key not in known:
        train, trial = plan.data.train, _copied(stage)
        batch = train.batch(train.rows[: _ANSWERED if rough is None else rough.images])
        answers = trial.teacher_outputs
        assert answers is not None
        work = partial(answers, batch, trial.teacher_layers)
        known[key] = steadily(work, batch.images.device, budget_s) / len(batch)
    return known[key]


def _step_s(plan: Plan, stage: TrainingStage, is_looked_up: bool, budget_s: float, rough: Rough | None) -> float:
    """Of an update, images put together and augmented. rough: where that takes long, of few images, scaled up."""
    rows = plan.data.train.rows[: stage.settings.batch_size]
    if rough is not None:
        some = rows[: rough.images]
        scaled_s = _step_of_s(plan, stage, some, is_looked_up, budget_s) * len(rows) / len(some)
        if scaled_s > _AFFORDABLE_S:
            return scaled_s
    return _step_of_s(plan, stage, rows, is_looked_up, budget_s)


def _step_of_s(plan: Plan, stage: TrainingStage, rows: Tensor, is_looked_up: bool, budget_s: float) -> float:
    trial, settings, train, views = _copied(stage), stage.settings, plan.data.train, plan.views(stage)
    if is_looked_up and trial.teacher_outputs is not None:
        trial.teacher_outputs = FixedOutputs(trial.teacher_outputs(train.batch(rows), trial.teacher_layers))
    optimizer = LayerOptimizer(trial.layers, settings, len(train) // settings.batch_size)
    train_mode(trial)

    def step() -> None:
        loss, _ = trial.step(train.viewed(rows, 0, views), 0)
        optimizer.update(loss)

    return steadily(step, rows.device, budget_s)


def _validation_s(plan: Plan, stage: TrainingStage, is_looked_up: bool, budget_s: float) -> float:
    trial, valid, size = _copied(stage), plan.data.valid, plan.config.engine.eval_batch_size
    some = replace(valid, rows=valid.rows[:size])
    if is_looked_up and trial.teacher_outputs is not None:
        trial.teacher_outputs = FixedOutputs(trial.teacher_outputs(some.batch(some.rows), trial.teacher_layers))
    once_s = steadily(lambda: trial.validate(some, size), some.rows.device, budget_s)
    return once_s * len(valid) / len(some)


def evaluation_s(plan: Plan, test_images: int) -> float:
    """Of what follows training: predictions on validation and test, comparisons of layers, latencies."""
    some = replace(plan.data.valid, rows=plan.data.valid.rows[:DIAGNOSED])
    size, device = plan.config.engine.eval_batch_size, some.rows.device
    networks = {"student": plan.student}
    if plan.teacher is not None:
        networks = {"teacher": plan.teacher, **networks}
    per_image_s = sum(
        steadily(partial(metrics.predict, network, some, size), device, QUICK_S) / len(some)
        for network in networks.values()
    )
    latencies = partial(latency.latencies, networks, plan.data.train.images[0])
    compared = (2 + len(plan.stages)) * len(some)
    predicted_s = per_image_s * (len(plan.data.valid) + test_images + compared)
    return predicted_s + latency.timed(latencies, device, repeats=1, warm_up=0)[0]


def briefly_evaluation_s(plan: Plan, test_images: int) -> float:
    """The same from a forward pass of a few images, for who cannot wait; latencies by arithmetic."""
    some = replace(plan.data.valid, rows=plan.data.valid.rows[:_ANSWERED])
    device = some.rows.device
    predictions = len(plan.data.valid) + test_images
    compared = min(len(plan.data.valid), DIAGNOSED)
    found = once_s = 0.0
    for network, times in ((plan.teacher, 1), (plan.student, 2 + len(plan.stages))):
        if network is None:
            continue
        work = partial(metrics.predict, network, some, len(some))
        per_image_s = min(latency.timed(work, device, repeats=1)) / len(some)
        found += per_image_s * (predictions + times * compared)
        once_s += per_image_s
    return found + latency.latencies_s(once_s)


def steadily(work: Callable[[], Any], device: torch.device, budget_s: float) -> float:
    """The median of as many repeats as fit into the time, of 2 to 100; a third as many before them only warm up."""
    once_s = latency.timed(work, device, repeats=1)[0]
    if budget_s <= ONCE_S:
        return once_s
    repeats = int(min(100, max(2, 0.75 * budget_s / once_s)))
    return statistics.median(latency.timed(work, device, repeats=repeats, warm_up=repeats // 3))


def _copied(stage: TrainingStage) -> TrainingStage:
    trial = copy.deepcopy(stage)
    if trial.teacher is not None:
        freeze(trial.teacher)
    return trial
