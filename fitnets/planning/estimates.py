"""Estimates how long a run takes on this machine if no stage stops early.

A few updates of each stage are timed on copies of its networks, so that nothing of the run itself is changed.
"""

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fitnets.config import Precision, UniformInit
from fitnets.machine import devices, latency
from fitnets.models.network import freeze, set_precision
from fitnets.planning.plan import Plan
from fitnets.training import metrics
from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.similarity import DIAGNOSED
from fitnets.training.stages import Stage, train_mode
from fitnets.training.teacher_cache import TeacherCache
from fitnets.training.teacher_outputs import FixedOutputs

ONCE_S, QUICK_S, THOROUGH_S = -1.0, 0.0, 1.0
"""Seconds per measurement. ONCE_S times a single call. QUICK_S, for a run that waits, times the fewest calls that give
a median. THOROUGH_S repeats the calls for a second."""
_LONG_STEP_S = 0.3
"""Seconds of an update above which a rough measurement times an update on few images and scales it up."""
_COMPARED_IMAGES = 64
"""images in the batch on which two precisions are compared, at most"""
_WORTH_SAYING = 1.1
"""how many times faster the other precision must be; less may be chance"""
_TIMED_IMAGES = 64
"""images in the batch on which the teacher's forward pass is timed"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """The expected duration of a stage at full length.

    step_s: seconds per update
    steps: number of updates, at most
    validation_s: seconds per validation
    validations: number of validations
    tables_s: seconds for computing the cached teacher outputs once
    retrained_steps: number of updates of the retraining on training and validation images; 0 without retraining
    epoch_s: seconds per epoch with its validation"""

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
        trained_s = (self.steps + self.retrained_steps) * self.step_s + self.validations * self.validation_s
        return trained_s + self.tables_s * (2 if self.retrained_steps else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoughMeasurement:
    """Settings to estimate many runs in seconds rather than minutes: long updates are timed on few images, and each
    teacher's forward pass is timed once for all runs.

    images: images per timed batch
    teacher_s: seconds of the teacher's forward pass per image, by teacher and requested layers; filled while
        measuring"""

    images: int = 8
    teacher_s: dict[str, float] = field(default_factory=dict)


def stage_times(
    plan: Plan, budget_s: float, cache: TeacherCache | None = None, rough: RoughMeasurement | None = None
) -> list[StageTime]:
    """Estimate the stages that are not trained yet.

    budget_s: seconds per measurement, see THOROUGH_S
    cache: the cache of a trained teacher, which may have some tables already; None if the teacher is untrained
    rough: settings for measuring many runs; None times whole batches"""
    return [_stage_time(plan, stage, budget_s, cache, rough) for stage in _untrained(plan)]


def _stage_time(
    plan: Plan, stage: Stage, budget_s: float, cache: TeacherCache | None, rough: RoughMeasurement | None
) -> StageTime:
    settings, train, valid, schedule = stage.settings, plan.data.train, plan.data.valid, plan.config.schedule
    is_retrained = schedule.retrain_teacher if stage is plan.teacher_stage else schedule.retrain_student
    steps_per_epoch = len(train) // settings.batch_size
    steps = float(settings.epochs * steps_per_epoch)
    if settings.max_steps is not None:
        steps = min(steps, settings.max_steps)
    cache_plan = plan.cache_plan(stage, plan.data)
    is_cached = cache_plan is not None and cache_plan.cached == cache_plan.layers
    tables_s = 0.0
    if cache_plan is not None and is_cached:
        images = cache_plan.tables * cache_plan.views.images_per_view * len(train) + len(valid)
        if cache is not None:
            images = cache.missing_outputs(cache_plan, plan.data) // len(cache_plan.cached)
        tables_s = images * _teacher_s(plan, stage, budget_s, rough)
    step_s = _step_s(plan, stage, is_cached, budget_s, rough)
    validation_s = step_s * len(valid) / settings.batch_size / 3  # a forward pass is a third of an update
    if budget_s > QUICK_S:
        validation_s = _validation_s(plan, stage, is_cached, budget_s)
    return StageTime(
        name=stage.name,
        step_s=step_s,
        steps=steps,
        validation_s=validation_s,
        epoch_s=step_s * steps_per_epoch + validation_s,
        validations=-(-int(steps) // steps_per_epoch),
        tables_s=tables_s,
        retrained_steps=steps * (1 + len(valid) / len(train)) if is_retrained else 0.0,
    )


def _teacher_s(plan: Plan, stage: Stage, budget_s: float, rough: RoughMeasurement | None) -> float:
    """Seconds of the teacher's forward pass per image."""
    measured = {} if rough is None else rough.teacher_s
    key = repr((plan.config.teacher, plan.config.dataset, plan.precision, stage.teacher_layers))
    if key not in measured:
        train, trial = plan.data.train, _trial_copy(stage)
        batch = train.batch(train.rows[: _TIMED_IMAGES if rough is None else rough.images])
        teacher_outputs = trial.teacher_outputs
        assert teacher_outputs is not None
        work = partial(teacher_outputs, batch, trial.teacher_layers)
        measured[key] = median_s(work, batch.images.device, budget_s) / len(batch)
    return measured[key]


def _step_s(plan: Plan, stage: Stage, is_cached: bool, budget_s: float, rough: RoughMeasurement | None) -> float:
    """Seconds of an update, with the selection and augmentation of its images."""
    rows = plan.data.train.rows[: stage.settings.batch_size]
    if rough is not None:
        few_rows = rows[: rough.images]
        scaled_s = _step_of_s(plan, stage, few_rows, is_cached, budget_s) * len(rows) / len(few_rows)
        if scaled_s > _LONG_STEP_S:
            return scaled_s
    return _step_of_s(plan, stage, rows, is_cached, budget_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class FasterPrecision:
    """A precision in which the updates of a run are faster on this machine than in the run's own.

    ratio: duration of the updates in the run's precision, divided by that in this one"""

    precision: Precision
    ratio: float

    def __str__(self) -> str:
        return (
            f"on this machine the updates are {self.ratio:.1f} x as fast in {self.precision}, measured on a few: "
            f"engine.precision={self.precision} (the result is then another)"
        )


def faster_precision(plan: Plan, budget_s: float) -> FasterPrecision | None:
    """Measure whether the stages that are not trained yet would be faster in the other precision on this machine.

    Returns None if the other one is not faster or does not work, if the hardware has no bf16, or if initial weights are
    so small that bf16 cannot tell the features of two images apart."""
    config = plan.config
    inits = [config.schedule.student_init, *([config.schedule.teacher_init] if plan.teacher_stage is not None else [])]
    if not devices.multiplies_bf16(plan.device) or any(isinstance(init, UniformInit) for init in inits):
        return None
    other: Precision = "fp32" if plan.precision == "bf16" else "bf16"
    seconds = dict.fromkeys((plan.precision, other), 0.0)
    for stage in _untrained(plan):
        cache_plan = plan.cache_plan(stage, plan.data)
        is_cached = cache_plan is not None and cache_plan.cached == cache_plan.layers
        rows = plan.data.train.rows[: min(stage.settings.batch_size, _COMPARED_IMAGES)]
        images = stage.settings.epochs * len(plan.data.train)
        if stage.settings.max_steps is not None:
            images = min(images, stage.settings.max_steps * stage.settings.batch_size)
        for precision in seconds:
            try:
                step_s = _step_of_s(plan, stage, rows, is_cached, budget_s, precision=precision)
            except Exception:  # a user's module may compute in one precision alone
                return None
            seconds[precision] += step_s * images / len(rows)
    ratio = seconds[plan.precision] / seconds[other] if seconds[other] else 1.0
    return FasterPrecision(precision=other, ratio=ratio) if ratio >= _WORTH_SAYING else None


def _untrained(plan: Plan) -> list[Stage]:
    """The stages of the teacher and of the student that are still to be trained."""
    teacher = [] if plan.teacher_stage is None or plan.teacher_is_trained else [plan.teacher_stage]
    return teacher + [stage for stage in plan.stages if not (stage.name == "hint" and plan.hint_is_trained)]


def _step_of_s(
    plan: Plan, stage: Stage, rows: Tensor, is_cached: bool, budget_s: float, *, precision: Precision | None = None
) -> float:
    """Seconds of an update on the images of these rows. precision: None for that of the plan."""
    trial, settings, train, views = _trial_copy(stage), stage.settings, plan.data.train, plan.views(stage)
    for network in filter(None, (trial.network, trial.teacher)):
        set_precision(network, precision or plan.precision)
    if is_cached and trial.teacher_outputs is not None:
        trial.teacher_outputs = FixedOutputs(trial.teacher_outputs(train.batch(rows), trial.teacher_layers))
    optimizer = LayerOptimizer(trial.layers, settings, len(train) // settings.batch_size)
    train_mode(trial)

    def step() -> None:
        loss, _ = trial.step(train.augmented(rows, 0, views), 0)
        optimizer.update(loss)

    return median_s(step, rows.device, budget_s)


def _validation_s(plan: Plan, stage: Stage, is_cached: bool, budget_s: float) -> float:
    trial, valid, batch_size = _trial_copy(stage), plan.data.valid, plan.config.engine.eval_batch_size
    sample = replace(valid, rows=valid.rows[:batch_size])
    if is_cached and trial.teacher_outputs is not None:
        trial.teacher_outputs = FixedOutputs(trial.teacher_outputs(sample.batch(sample.rows), trial.teacher_layers))
    sample_s = median_s(lambda: trial.validate(sample, batch_size), sample.rows.device, budget_s)
    return sample_s * len(valid) / len(sample)


def evaluation_s(plan: Plan, test_images: int) -> float:
    """Estimate the seconds of evaluation after training: predictions, comparisons of layers, latencies."""
    sample = replace(plan.data.valid, rows=plan.data.valid.rows[:DIAGNOSED])
    batch_size, device = plan.config.engine.eval_batch_size, sample.rows.device
    networks = {"student": plan.student}
    if plan.teacher is not None:
        networks = {"teacher": plan.teacher, **networks}
    per_image_s = sum(
        median_s(partial(metrics.predict, network, sample, batch_size), device, QUICK_S) / len(sample)
        for network in networks.values()
    )
    latencies = partial(latency.latencies, networks, plan.data.train.batch(plan.data.train.rows[:1]).images[0])
    compared = (2 + len(plan.stages)) * len(sample)
    predicted_s = per_image_s * (len(plan.data.valid) + test_images + compared)
    return predicted_s + latency.timed(latencies, device, repeats=1, warm_up=0)[0]


def quick_evaluation_s(plan: Plan, test_images: int) -> float:
    """Estimate the seconds of `evaluation_s` quickly, from forward passes of a few images. The time of measuring
    latencies is calculated from these passes."""
    sample = replace(plan.data.valid, rows=plan.data.valid.rows[:_TIMED_IMAGES])
    device = sample.rows.device
    predictions = len(plan.data.valid) + test_images
    compared = min(len(plan.data.valid), DIAGNOSED)
    predicted_s = image_by_all_s = 0.0
    for network, comparisons in ((plan.teacher, 1), (plan.student, 2 + len(plan.stages))):
        if network is None:
            continue
        work = partial(metrics.predict, network, sample, len(sample))
        per_image_s = min(latency.timed(work, device, repeats=1)) / len(sample)
        predicted_s += per_image_s * (predictions + comparisons * compared)
        image_by_all_s += per_image_s
    return predicted_s + latency.latencies_s(image_by_all_s)


def median_s(work: Callable[[], Any], device: torch.device, budget_s: float) -> float:
    """The median seconds of 2 to 100 calls, as many as fit into `budget_s`. A third as many calls warm up before them.
    With ONCE_S, the seconds of a single call."""
    once_s = latency.timed(work, device, repeats=1)[0]
    if budget_s <= ONCE_S:
        return once_s
    repeats = int(min(100, max(2, 0.75 * budget_s / once_s)))
    return statistics.median(latency.timed(work, device, repeats=repeats, warm_up=repeats // 3))


def _trial_copy(stage: Stage) -> Stage:
    """A copy of the stage whose networks and memory may be changed, with its teacher frozen."""
    trial = copy.deepcopy(stage)
    if trial.teacher is not None:
        freeze(trial.teacher)
    return trial
