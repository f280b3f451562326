"""Prints what a run is going to do, and about how long that takes on this machine, before it trains."""

from collections.abc import Iterator

from fitnets.config import (
    Config,
    CustomTeacher,
    EarlierRunTeacher,
    LibraryStudent,
    LibraryTeacher,
    Schedule,
    StageSettings,
    Student,
    Teacher,
    image_shape,
)
from fitnets.config.options import content_hash
from fitnets.console import quantities
from fitnets.console.terminal import Terminal
from fitnets.data import class_names, unread
from fitnets.data import splits as data_splits
from fitnets.data.class_balance import class_notes
from fitnets.data.eight_bit import EightBitImages
from fitnets.data.unread import has_test
from fitnets.kernels import library
from fitnets.machine import devices
from fitnets.models import costs
from fitnets.models.network import Network
from fitnets.parallel import group
from fitnets.planning import estimates, readiness
from fitnets.planning.identity import teacher_seed
from fitnets.planning.plan import Plan
from fitnets.planning.readiness import Readiness
from fitnets.store import earlier_runs
from fitnets.training.stages import Stage

_LONG_EVALUATION_S = 10.0
"""Seconds of evaluation above which the plan of a trial of a few updates shows overrides that shorten it."""
_LONG_TRAINING_S = 120.0
"""Seconds of training above which the plan measures whether the other precision is faster."""
_TRIAL_IMAGES = 500
"""validation images that are enough for a trial"""
_SCHEDULES = {
    "quick": "a short training, not the paper's (its numbers: schedule=paper; longer: schedule=modern)",
    "modern": "not the paper's training (its numbers: schedule=paper)",
    "fast": "short, chosen on validation, not the paper's training (its numbers: schedule=paper)",
    "fast_long": "schedule=fast with longer stages of the student",
    "paper": "the paper's numbers, except for those that you change",
    "released": "the released code's numbers, except for those that you change",
}
_NOT_IN_PAPER = {"digits", "folder", "photos"}
"""data sets that the paper does not use"""


def announce(plan: Plan, terminal: Terminal) -> None:
    """Print the plan of a run: data, method, schedule, seeds, networks, stages, notes, cache, expected duration,
    folder.

    For a quiet terminal nothing is printed or estimated, because estimates take a moment."""
    if terminal.quiet:
        return
    config, ready = plan.config, readiness.evaluate_if_quick(plan)
    lines = [
        f"{config.dataset.name}: {len(plan.data.train)} training and {len(plan.data.valid)} validation images",
        f"  method   {config.method.name}",
        f"  schedule {_schedule(config)}",
        f"  seeds    {_seeds(config)}",
        f"  teacher  {_teacher(plan, ready)}",
        f"  student  {_network(plan, config.student.name, plan.student)}{_start(config.student)}",
        *(_stage_line(stage, plan) for stage in plan.stages),
    ]
    lines += [f"  note     {note}" for note in [*readiness.warnings(plan, ready), *_notes(plan, terminal)]]
    if config.schedule.retrain_student:
        lines.append(
            "  student  retrained from its initial weights on training and validation images, for the number of epochs "
            "that validation chose"
        )
    lines += [f"  cache    {line}" for line in _cache_lines(plan)]
    lines += [f"  images   {line}" for line in _streaming_lines(plan)]
    lines += [f"  kernels  {library.describe()}"] * (plan.device.type == "cpu")
    lines += _process_lines()
    lines += _duration_lines(plan)
    if config.test and not has_test(config):
        lines.append("  test     none: this data set has no test split, so all figures are on validation")
    lines.append(f"  files    {plan.run_directory}")
    terminal.explain("\n".join(lines))


def _process_lines() -> list[str]:
    count = group.current().size
    if count == 1:
        return []
    return [f"  ranks    {count} processes, each with a part of every batch and its own batch statistics"]


def _schedule(config: Config) -> str:
    name = config.schedule.name
    if name not in _SCHEDULES:
        return name
    description = _SCHEDULES[name]
    if config.dataset.name in _NOT_IN_PAPER and name in ("paper", "released"):
        description += "; the paper has no training for such images: these follow another data set's"
    return f"{name}: {description}"


def _seeds(config: Config) -> str:
    """The seeds with the keys that set them."""
    seed = teacher_seed(config)
    teacher = "" if seed is None else f", teacher.seed={seed}"
    return f"seed={config.seed} (student){teacher}, dataset.seed={config.dataset.seed}"


# --- networks and stages ---


def _network(plan: Plan, name: str, network: Network) -> str:
    cost = costs.cost(network, image_shape(plan.config.dataset))
    parameters, multiplications = quantities.number(cost.parameters), quantities.number(cost.multiplications)
    return f"{name}, {parameters} parameters, {multiplications} multiplications an image"


def _teacher(plan: Plan, ready: Readiness | None) -> str:
    if plan.teacher is None:
        return "none (teacher=none)"
    return f"{_network(plan, plan.config.teacher.name, plan.teacher)}: {_teacher_training(plan, ready)}"


def _start(student: Student) -> str:
    """The initial weights of a library's model."""
    if not isinstance(student, LibraryStudent) or student.weights is not None:
        return ""
    weights = "the published weights" if student.pretrained else "random weights"
    return f", {student.model} of {student.library}, from {weights}"


def _origin(teacher: Teacher) -> str:
    """Say where the weights of a teacher come from that is not trained here."""
    if isinstance(teacher, LibraryTeacher) and teacher.weights is None:
        weights = "the published weights" if teacher.pretrained else "RANDOM WEIGHTS"
        return f"{teacher.model} of {teacher.library}, {weights}, not trained here"
    return "your own, not trained here" if isinstance(teacher, CustomTeacher) else "of earlier runs"


def _teacher_training(plan: Plan, ready: Readiness | None) -> str:
    """Describe the source of the teacher's weights, or the length of its training."""
    if plan.teacher_stage is None:
        origin = _origin(plan.config.teacher)
        return f"{origin}, {ready.describe()}" if ready else origin
    if plan.teacher_is_trained:
        return f"already trained, in {plan.teacher_directory}"
    retrained = ", then from its initial weights on training and validation images"
    return _length(plan.teacher_stage.settings) + (retrained if plan.config.schedule.retrain_teacher else "")


def _stage_line(stage: Stage, plan: Plan) -> str:
    is_trained = stage.name == "hint" and plan.hint_is_trained
    length = (
        f"already trained, in {plan.hint_directory}" if is_trained else _student_length(stage, plan.config.schedule)
    )
    return f"  {stage.name:<7}  {' + '.join(term.summary() for term in stage.terms)}: {length}"


def _length(settings: StageSettings) -> str:
    epochs = "1 epoch" if settings.epochs == 1 else f"at most {settings.epochs} epochs"
    if settings.max_steps is None:
        return epochs
    return f"{epochs}, at most {quantities.plural(settings.max_steps, 'update')}"


def _student_length(stage: Stage, schedule: Schedule) -> str:
    """The length of a student's stage, with the reason if it is longer than `schedule.student.epochs`."""
    epochs, hint_epochs = schedule.student.epochs, schedule.hint.epochs
    if stage.name != "student" or stage.settings.epochs == epochs:
        return _length(stage.settings)
    return (
        f"{_length(stage.settings)}: schedule.student.epochs={epochs} plus schedule.hint.epochs={hint_epochs}, because "
        f"schedule.equal_epochs=true gives every method the epochs of both stages (schedule.equal_epochs=false: "
        f"{epochs} alone)"
    )


# --- cache and duration ---


def _streaming_lines(plan: Plan) -> list[str]:
    images = plan.data.train.images
    if not (isinstance(images, EightBitImages) and images.pixels.is_streamed):
        return []
    size, key = quantities.size(images.pixels.bytes), f"engine.data={plan.config.engine.data}"
    return [f"streamed from their file ({size}), because {key}"]


def _cache_lines(plan: Plan) -> Iterator[str]:
    """The disk space of the cached teacher outputs, and the outputs that are computed at every step instead."""
    for stage in plan.stages:
        cache_plan = plan.cache_plan(stage, plan.data)
        if cache_plan is None:
            continue
        for layer in cache_plan.cached:
            size = quantities.size(cache_plan.bytes[layer])
            again = ", and once more for retraining" if plan.config.schedule.retrain_student else ""
            yield f"{stage.name}: the teacher's {layer} outputs are computed once and cached, {size}{again}"
        for layer in cache_plan.layers:
            if layer not in cache_plan.cached:
                reason = f"{cache_plan.reason}; {quantities.size(cache_plan.bytes[layer])}"
                yield f"{stage.name}: the teacher's {layer} outputs are computed at every step ({reason})"


def _duration_lines(plan: Plan) -> list[str]:
    machine = f"{devices.describe(plan.device)}, {plan.precision}{_precision_reason(plan)}"
    training_s = sum(stage.total_s for stage in estimates.stage_times(plan, estimates.QUICK_S))
    is_long = training_s >= _LONG_TRAINING_S
    faster = estimates.faster_precision(plan, estimates.QUICK_S) if is_long else None
    evaluation_s = estimates.quick_evaluation_s(plan, _test_images(plan))
    return [
        f"  about    {quantities.duration(training_s)} of training on {machine}",
        *([] if faster is None else [f"  faster   {faster}"]),
        f"  about    {quantities.duration(evaluation_s)} of evaluation, diagnoses and latencies after it"
        f"{_shorter_trial(plan, evaluation_s)}",
    ]


def _precision_reason(plan: Plan) -> str:
    """Why engine.precision=auto chose bf16; empty for fp32 and for a precision that the user chose."""
    if plan.config.engine.precision != "auto" or plan.precision == "fp32":
        return ""
    return " (engine.precision=auto: the hardware has it, and this teacher is large enough to gain)"


def _test_images(plan: Plan) -> int:
    """The number of test images. If it is unknown before they are read, the number of validation images."""
    if not has_test(plan.config):
        return 0
    images = unread.image_count(plan.config.dataset, "test")
    return len(plan.data.valid) if images is None else images


def _shorter_trial(plan: Plan, evaluation_s: float) -> str:
    """A remark with overrides that shorten a trial's evaluation, which takes as long as that of a whole run."""
    trained = [*plan.stages, *([plan.teacher_stage] if plan.teacher_stage is not None else [])]
    is_trial = any(stage.settings.max_steps is not None for stage in trained)
    if not is_trial or evaluation_s < _LONG_EVALUATION_S:
        return ""
    can_hold_out_fewer = getattr(plan.config.dataset, "validation_images", 0) > _TRIAL_IMAGES
    overrides = [f"dataset.validation_images={_TRIAL_IMAGES}"] * can_hold_out_fewer + ["test=false"] * has_test(
        plan.config
    )
    return f" (shorter for a trial: {' '.join(overrides)})" if overrides else ""


# --- notes ---


def _notes(plan: Plan, terminal: Terminal) -> Iterator[str]:
    """Remarks on whatever makes the figures of this run less meaningful than they look."""
    config = plan.config
    yield from data_splits.notes(config.dataset, config.root, terminal, test=has_test(config))
    names = class_names.number_labels(plan.class_names.names, config.dataset.classes)
    if plan.class_names.note:
        yield plan.class_names.note
    splits = {"train": plan.data.train, "valid": plan.data.valid}
    yield from class_notes(names, {name: split.class_counts(len(names)) for name, split in splits.items()})
    if isinstance(config.teacher, CustomTeacher) and config.teacher.weights is None:
        yield "teacher.weights is null: the teacher keeps the weights that teacher.target gives it, trained or not"
    if isinstance(config.teacher, EarlierRunTeacher):
        yield from _earlier_run_notes(plan, config.teacher)
    elif _has_taught_after_retraining(plan):
        yield (
            "the teacher has seen the validation images when it teaches (schedule.retrain_teacher=true): validation "
            "figures are too good compared with backprop's"
        )


def _has_taught_after_retraining(plan: Plan) -> bool:
    is_retrained = plan.teacher_stage is not None and plan.config.schedule.retrain_teacher
    return is_retrained and any(stage.teacher for stage in plan.stages)


def _earlier_run_notes(plan: Plan, teacher: EarlierRunTeacher) -> Iterator[str]:
    for path, member in earlier_runs.members(teacher).items():
        yield from _unknown_classes(plan, path, member)
        is_same_split = content_hash(member.config.dataset) == content_hash(plan.config.dataset)
        if not is_same_split or member.data_digest() != plan.data.digest:
            yield f"{path} was trained on another split: it may have seen images that are for validation or test here"
        elif member.was_retrained:
            yield f"{path} was retrained on the validation images: its validation figures are on images it has seen"


def _unknown_classes(plan: Plan, path: str, member: earlier_runs.StoredNetwork) -> Iterator[str]:
    """A note if the classes of a stored teacher cannot be compared with those of the data by name. Teachers of the same
    images and labels need no note."""
    of_teacher = class_names.of_network(member)
    if of_teacher.note:
        yield of_teacher.note
    if member.data_digest() != plan.data.digest and None in (of_teacher.names, plan.class_names.names):
        unnamed = "this data set" if plan.class_names.names is None else path
        yield f"{path}: its classes are compared with this data set's by number, because {unnamed} names none"
