"""The words of a run: the plan before it, the table after it."""

from collections.abc import Iterator
from typing import Any

from fitnets.config import Config, CustomTeacher, EarlierRunTeacher, StageSettings, image_shape
from fitnets.config.options import content_hash
from fitnets.console import quantities
from fitnets.console.quantities import duration, number
from fitnets.console.terminal import Terminal
from fitnets.data import class_names, sizes
from fitnets.data import splits as data_splits
from fitnets.data.class_balance import class_notes
from fitnets.data.test_split import has_test
from fitnets.experiment import chance
from fitnets.machine import devices
from fitnets.models import costs
from fitnets.models.network import Network
from fitnets.planning import estimates, readiness
from fitnets.planning.identity import teacher_seed
from fitnets.planning.plan import Plan
from fitnets.planning.readiness import Readiness
from fitnets.store import earlier_runs
from fitnets.training import schedules
from fitnets.training.loss_terms import HintTerm, KdTerm, LabelHintTerm, LabelTerm, LossTerm, MimicTerm
from fitnets.training.stages import HintStage, LabelHintStage, TrainingStage, WholeNetworkStage


def announce(plan: Plan, terminal: Terminal) -> None:
    """What will be done, and about how long that takes here."""
    if terminal.quiet:  # the estimate takes a moment
        return
    config, ready = plan.config, readiness.evaluated_if_quick(plan)
    lines = [
        f"{config.dataset.name}: {len(plan.data.train)} training and {len(plan.data.valid)} validation images",
        f"  method   {config.method.name}",
        f"  schedule {_schedule(config)}",
        f"  seeds    {_seeds(config)}",
        f"  teacher  {_teacher(plan, ready)}",
        f"  student  {_describe(plan, config.student.name, plan.student)}",
    ]
    for stage in plan.stages:
        label = "hint" if isinstance(stage, HintStage | LabelHintStage) else "student"
        found = label == "hint" and plan.hint_is_trained
        length = f"found in {plan.hint_directory}" if found else _student_length(stage, config)
        lines.append(f"  {label:<7}  {_task(stage, plan)}: {length}")
    lines += [f"  note     {note}" for note in [*readiness.warnings(plan, ready), *_notes(plan, terminal)]]
    if config.schedule.retrain_student:
        lines.append("  student  afresh on training and validation images, with the epochs found")
    lines += [f"  cache    {line}" for line in _cached(plan)]
    machine = f"{devices.describe(plan.device)}, {plan.precision}{_why(plan)}"
    training_s = sum(stage.total_s for stage in estimates.stages(plan, estimates.QUICK_S))
    after_s = estimates.briefly_evaluation_s(plan, _test_images(plan))
    lines.append(f"  about    {duration(training_s)} of training on {machine}")
    lines.append(
        f"  about    {duration(after_s)} of evaluation, diagnoses and latencies beside it{_shorter(plan, after_s)}"
    )
    if config.test and not has_test(config):
        lines.append("  test     none: this data set has no test split, so all figures are on validation")
    lines.append(f"  files    {plan.run_directory}")
    terminal.explain("\n".join(lines))


_LONG_S, _FEW = 10.0, 500
"""of evaluation after a trial of a few updates; images that are enough for it"""
_SCHEDULES = {
    "quick": "a short training, not the paper's (its numbers: schedule=paper; longer: schedule=modern)",
    "modern": "not the paper's training (its numbers: schedule=paper)",
    "paper": "the paper's numbers, but for those that you change",
    "released": "the released code's numbers, but for those that you change",
}
_OTHERS = {"digits", "folder"}
"""data sets that the paper does not have"""


def _schedule(config: Config) -> str:
    name, told = config.schedule.name, _SCHEDULES.get(config.schedule.name)
    if told is not None and config.dataset.name in _OTHERS and name in ("paper", "released"):
        told += "; the paper has no training for such images: these follow another data set's"
    return name if told is None else f"{name}: {told}"


def _seeds(config: Config) -> str:
    """The seeds with the keys that set them."""
    seed = teacher_seed(config)
    teacher = "" if seed is None else f", teacher.seed={seed}"
    return f"seed={config.seed} (student){teacher}, dataset.seed={config.dataset.seed}"


def _test_images(plan: Plan) -> int:
    """The images of the test split that the run ends with; as many as for validation where nobody says."""
    if not has_test(plan.config):
        return 0
    count = sizes.images(plan.config.dataset, "test")
    return len(plan.data.valid) if count is None else count


def _shorter(plan: Plan, evaluation_s: float) -> str:
    """What makes a trial of a few updates short: its evaluation is that of a whole run."""
    trained = [*plan.stages, *([plan.teacher_stage] if plan.teacher_stage is not None else [])]
    is_trial = any(stage.settings.max_steps is not None for stage in trained)
    if not is_trial or evaluation_s < _LONG_S:
        return ""
    is_held_out = getattr(plan.config.dataset, "validation_images", 0) > _FEW
    shorter = [f"dataset.validation_images={_FEW}"] * is_held_out + ["test=false"] * has_test(plan.config)
    return f" (shorter for a trial: {' '.join(shorter)})" if shorter else ""


def _cached(plan: Plan) -> Iterator[str]:
    """What the teacher's answers will take on the disk, and which of them are computed at every step instead."""
    for stage in plan.stages:
        need = plan.cache_plan(stage, plan.data)
        if need is None:
            continue
        for layer in need.cached:
            size = quantities.size(need.bytes[layer])
            again = ", and again for retraining" if plan.config.schedule.retrain_student else ""
            yield f"{stage.name}: the teacher's {layer} answers are computed once, {size}{again}"
        for layer in need.layers:
            if layer not in need.cached:
                reason = f"{need.reason}; {quantities.size(need.bytes[layer])}"
                yield f"{stage.name}: the teacher's {layer} answers are computed at every step ({reason})"


def _why(plan: Plan) -> str:
    """Which precision was chosen, where it was left open."""
    if plan.config.engine.precision != "auto" or plan.precision == "fp32":
        return ""
    return " (engine.precision=auto: the hardware has it, and this teacher is large enough to gain)"


def _describe(plan: Plan, name: str, network: Network) -> str:
    dataset = plan.config.dataset
    cost = costs.cost(network, image_shape(dataset))
    return f"{name}, {number(cost.parameters)} parameters, {number(cost.multiplications)} multiplications an image"


def _teacher(plan: Plan, ready: Readiness | None) -> str:
    if plan.teacher is None:
        return "none (teacher=none)"
    return f"{_describe(plan, plan.config.teacher.name, plan.teacher)}: {_teacher_training(plan, ready)}"


def _teacher_training(plan: Plan, ready: Readiness | None) -> str:
    if plan.teacher_stage is None:
        origin = "your own, not trained here" if isinstance(plan.config.teacher, CustomTeacher) else "of earlier runs"
        return f"{origin}, {ready.in_words()}" if ready else origin
    if plan.teacher_is_trained:
        return f"found in {plan.teacher_directory}"
    again = ", then afresh on training and validation images" if plan.config.schedule.retrain_teacher else ""
    return _length(plan.teacher_stage.settings) + again


def _notes(plan: Plan, terminal: Terminal) -> Iterator[str]:
    """What makes the figures say less than they seem to."""
    config = plan.config
    yield from data_splits.notes(config.dataset, config.root, terminal, test=has_test(config))
    names = class_names.numbered(plan.class_names.names, config.dataset.classes)
    if plan.class_names.note:
        yield plan.class_names.note
    splits = {"train": plan.data.train, "valid": plan.data.valid}
    yield from class_notes(names, {name: split.class_counts(len(names)) for name, split in splits.items()})
    if isinstance(config.teacher, CustomTeacher) and config.teacher.weights is None:
        yield "teacher.weights is null: the teacher is taken as it is made, whether it was trained or not"
    if not isinstance(config.teacher, EarlierRunTeacher):
        if (
            plan.teacher_stage is not None
            and config.schedule.retrain_teacher
            and any(stage.teacher for stage in plan.stages)
        ):
            yield (
                "the teacher has seen the validation images when it teaches (schedule.retrain_teacher): validation "
                "figures are too good against backprop's"
            )
        return
    for path, member in earlier_runs.members(config.teacher).items():
        yield from _unknown_classes(plan, path, member)
        same_split = content_hash(member.config.dataset) == content_hash(config.dataset)
        if not same_split or member.data_digest() != plan.data.digest:
            yield f"{path} was trained on another split: it may have seen images that are for validation or test here"
        elif member.was_retrained:
            yield f"{path} was retrained on the validation images: it has seen what its validation figures are of"


def _unknown_classes(plan: Plan, path: str, member: earlier_runs.StoredNetwork) -> Iterator[str]:
    """A note where nobody can tell whether a teacher's classes are those of the data. The same images with the same
    labels need none."""
    theirs = class_names.of_network(member)
    if theirs.note:
        yield theirs.note
    if member.data_digest() != plan.data.digest and None in (theirs.names, plan.class_names.names):
        whose = "this data set" if plan.class_names.names is None else path
        yield f"{path}: its classes are taken to be those of this data set by their numbers: {whose} names none"


def _task(stage: TrainingStage, plan: Plan) -> str:
    match stage:
        case HintStage():
            return _hint(stage, plan)
        case LabelHintStage(guided_layer=guided_layer):
            return f"student {guided_layer} learns the labels through a softmax layer of its own"
        case WholeNetworkStage(terms=terms, settings=settings):
            return " + ".join(_term(term, settings.epochs, plan) for term in terms)
    raise AssertionError(stage)


def _term(term: LossTerm, epochs: int, plan: Plan) -> str:
    match term:
        case LabelTerm():
            return "cross-entropy with the labels"
        case KdTerm(kd=kd):
            last = schedules.kd_weight(kd, epochs - 1, epochs)
            return f"teacher's softened outputs, tau {kd.temperature:g}, lambda {kd.weight:g} to {last:.3g}"
        case MimicTerm():
            return "regression of the teacher's logits"
        case HintTerm(factor=factor):
            return f"{factor:g} x hint: {_hint(term, plan)}"
        case LabelHintTerm(classifiers=classifiers, factor=factor):
            layers = next(iter(classifiers)) if len(classifiers) == 1 else f"{len(classifiers)} hidden layers"
            return f"{factor:g} x cross-entropy with the labels at {layers}"
    raise AssertionError(term)


def _hint(link: HintStage | HintTerm, plan: Plan) -> str:
    assert plan.teacher is not None
    guided, hint = (
        "x".join(map(str, network.layer_output(layer).out_shape))
        for network, layer in ((plan.student, link.guided_layer), (plan.teacher, link.hint_layer))
    )
    return (
        f"student {link.guided_layer} ({guided}) learns teacher {link.hint_layer} ({hint}) "
        f"through {link.regressor.describe()}"
    )


def _length(settings: StageSettings) -> str:
    epochs = "1 epoch" if settings.epochs == 1 else f"at most {settings.epochs} epochs"
    return (
        epochs if settings.max_steps is None else f"{epochs}, at most {quantities.plural(settings.max_steps, 'update')}"
    )


def _student_length(stage: TrainingStage, config: Config) -> str:
    """The length of a stage of the student and, where it is longer than its key says, why."""
    own, added = config.schedule.student, config.schedule.hint.epochs
    if stage.name != "student" or stage.settings.epochs == own.epochs:
        return _length(stage.settings)
    return (
        f"{_length(stage.settings)}: schedule.student.epochs={own.epochs} plus schedule.hint.epochs={added}, because "
        f"schedule.equal_epochs=true gives every method the epochs of both stages (schedule.equal_epochs=false: "
        f"{own.epochs} alone)"
    )


def conclude(result: dict[str, Any], terminal: Terminal) -> None:
    """Teacher and student side by side."""
    if terminal.quiet:
        return
    if result["teacher"] is None:
        _conclude_alone(result, terminal)
        return
    teacher, student, timing = result["teacher"], result["student"], result["timing"]
    rows = [
        [
            f"{label} accuracy",
            *(f"{100 * side[key]:.2f} %" for side in (teacher, student)),
            _points(teacher[key], student[key]),
        ]
        for label, key in (("validation", "valid_accuracy"), ("test", "test_accuracy"))
        if key in student
    ]
    for key in ("parameters", "multiplications"):
        rows.append(
            [key, number(teacher[key]), number(student[key]), _ratio(teacher[key], student[key], "fewer", "more")]
        )
    rows.append(["weight file", *(quantities.size(side["weights_bytes"]) for side in (teacher, student)), ""])
    for size in (1, 128):
        teacher_ms, student_ms = (timing["latency"][side][f"batch_{size}_p50_ms"] for side in ("teacher", "student"))
        speedup = _ratio(teacher_ms, student_ms, "faster", "slower")
        rows.append([f"latency, batch {size}", f"{teacher_ms:.2f} ms", f"{student_ms:.2f} ms", speedup])
    title = (
        f"{result['method']} on {result['dataset']}; latencies are medians on {timing['device']}, {timing['precision']}"
    )
    if any(name.startswith("retrain_") for name in result["stages"]):
        title += "\nvalidation: of the networks before they were retrained on these images too; test: after"
    header = ["", f"teacher\n{teacher['name']}", f"student\n{student['name']}", "student\nagainst teacher"]
    terminal.table(title, header, rows)
    images = result.get("images", {}).get("valid")
    for side, figures in (("teacher", teacher), ("student", student)):
        if chance.is_no_better((figures["valid_accuracy"], result.get("commonest_class"), images)):
            terminal.say(f"note: the {side} is no better than always naming one class: it has not begun to learn")


def _conclude_alone(result: dict[str, Any], terminal: Terminal) -> None:
    """The student of a run with teacher=none."""
    student, timing = result["student"], result["timing"]
    rows = [
        [f"{label} accuracy", f"{100 * student[key]:.2f} %"]
        for label, key in (("validation", "valid_accuracy"), ("test", "test_accuracy"))
        if key in student
    ]
    rows += [[key, number(student[key])] for key in ("parameters", "multiplications")]
    rows.append(["weight file", quantities.size(student["weights_bytes"])])
    for size in (1, 128):
        rows.append([f"latency, batch {size}", f"{timing['latency']['student'][f'batch_{size}_p50_ms']:.2f} ms"])
    title = f"{result['method']} on {result['dataset']}, without a teacher; latencies are medians on {timing['device']}"
    terminal.table(title, ["", f"student\n{student['name']}"], rows)
    images = result.get("images", {}).get("valid")
    if chance.is_no_better((student["valid_accuracy"], result.get("commonest_class"), images)):
        terminal.say("note: the student is no better than always naming one class: it has not begun to learn")


def _points(teacher: float, student: float) -> str:
    return f"{100 * (student - teacher):+.2f} points"


def _ratio(teacher: float, student: float, less: str, more: str) -> str:
    return f"{teacher / student:.2f} x {less}" if student <= teacher else f"{student / teacher:.2f} x {more}"
