"""The words of a run: the plan before it, the table after it."""

from collections.abc import Iterator
from typing import Any

from fitnets import costs, data, engine, estimates, schedules, sources, stored
from fitnets.config import CustomTeacher, EarlierRuns, ReadyTeacher, Stage, image_shape
from fitnets.labelled import imbalance
from fitnets.networks import Network
from fitnets.objectives import HintObjective, LabelHintObjective, Objective, WholeObjective
from fitnets.options import content_hash
from fitnets.plan import Plan
from fitnets.rules import has_test
from fitnets.terminal import Terminal, count, megabytes, seconds
from fitnets.terms import HintTerm, KdTerm, LabelHintTerm, LabelTerm, MimicTerm, Term


def announce(plan: Plan, terminal: Terminal) -> None:
    """What will be done, and about how long that takes here."""
    if terminal.quiet:  # the estimate takes a moment
        return
    config = plan.config
    lines = [
        f"{config.dataset.name}: {len(plan.data.train)} training and {len(plan.data.valid)} validation images",
        f"  teacher  {_describe(plan, config.teacher.name, plan.teacher)}: {_teacher(plan)}",
        f"  student  {_describe(plan, config.student.name, plan.student)}",
    ]
    for objective in plan.stages:
        label = "hint" if isinstance(objective, HintObjective | LabelHintObjective) else "student"
        found = label == "hint" and plan.hint_is_trained
        length = f"found in {plan.hint_directory}" if found else _length(objective.stage)
        lines.append(f"  {label:<7}  {_task(objective, plan)}: {length}")
    lines += [f"  note     {note}" for note in _notes(plan, terminal)]
    if config.schedule.retrain_student:
        lines.append("  student  afresh on training and validation images, with the epochs found")
    lines += [f"  cache    {line}" for line in _cached(plan)]
    machine = f"{engine.describe(plan.device)}, {plan.precision}{_why(plan)}"
    training_s = sum(stage.total_s for stage in estimates.stages(plan, estimates.QUICK_S))
    lines.append(f"  about    {seconds(training_s)} of training on {machine}")
    if config.test and not has_test(config):
        lines.append("  test     none: this data set has no test split, so all figures are on validation")
    lines.append(f"  files    {plan.run_directory}")
    terminal.narrate("\n".join(lines))


def _cached(plan: Plan) -> Iterator[str]:
    """What the teacher's answers will take on the disk, and which of them are computed at every step instead."""
    for objective in plan.stages:
        need = plan.need(objective, plan.data)
        if need is None:
            continue
        for layer in need.looked_up:
            size = megabytes(need.bytes[layer])
            again = ", and again for retraining" if plan.config.schedule.retrain_student else ""
            yield f"{objective.name}: the teacher's {layer} answers are computed once, {size}{again}"
        for layer in need.wanted:
            if layer not in need.looked_up:
                reason = f"{need.reason}; {megabytes(need.bytes[layer])}"
                yield f"{objective.name}: the teacher's {layer} answers are computed at every step ({reason})"


def _why(plan: Plan) -> str:
    """Which precision was chosen, where it was left open."""
    if plan.config.engine.precision != "auto" or plan.precision == "fp32":
        return ""
    return " (engine.precision=auto: the hardware has it, and this teacher is large enough to gain)"


def _describe(plan: Plan, name: str, network: Network) -> str:
    dataset = plan.config.dataset
    cost = costs.cost(network, image_shape(dataset))
    return f"{name}, {count(cost.parameters)} parameters, {count(cost.multiplications)} multiplications an image"


def _teacher(plan: Plan) -> str:
    if plan.teacher_stage is None:
        return "your own, not trained here" if isinstance(plan.config.teacher, CustomTeacher) else "of earlier runs"
    if plan.teacher_is_trained:
        return f"found in {plan.teacher_directory}"
    again = ", then afresh on training and validation images" if plan.config.schedule.retrain_teacher else ""
    return _length(plan.teacher_stage.stage) + again


def _notes(plan: Plan, terminal: Terminal) -> Iterator[str]:
    """What makes the figures say less than they seem to."""
    config = plan.config
    yield from data.notes(config.dataset, config.root, terminal, test=has_test(config))
    names = sources.class_names(config.dataset) or [f"class {label}" for label in range(config.dataset.classes)]
    if told := imbalance(names, plan.data.train.class_counts(len(names))):
        yield told
    if isinstance(config.teacher, CustomTeacher) and config.teacher.weights is None:
        yield "teacher.weights is null: the teacher is taken as it is made, whether it was trained or not"
    if not isinstance(config.teacher, EarlierRuns):
        if (
            not isinstance(config.teacher, ReadyTeacher)
            and config.schedule.retrain_teacher
            and any(stage.teacher for stage in plan.stages)
        ):
            yield (
                "the teacher has seen the validation images when it teaches (schedule.retrain_teacher): validation "
                "figures are too good against backprop's"
            )
        return
    for path, member in stored.members(config.teacher).items():
        same_split = content_hash(member.config.dataset) == content_hash(config.dataset)
        if not same_split or member.data_digest() != plan.data.digest:
            yield f"{path} was trained on another split: it may have seen images that are for validation or test here"
        elif member.was_retrained:
            yield f"{path} was retrained on the validation images: it has seen what its validation figures are of"


def _task(objective: Objective, plan: Plan) -> str:
    match objective:
        case HintObjective():
            return _hint(objective, plan)
        case LabelHintObjective(guided_layer=guided_layer):
            return f"student {guided_layer} learns the labels through a softmax layer of its own"
        case WholeObjective(terms=terms, stage=stage):
            return " + ".join(_term(term, stage.epochs, plan) for term in terms)
    raise AssertionError(objective)


def _term(term: Term, epochs: int, plan: Plan) -> str:
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


def _hint(link: HintObjective | HintTerm, plan: Plan) -> str:
    guided, hint = (
        "x".join(map(str, network.named(layer).out_shape))
        for network, layer in ((plan.student, link.guided_layer), (plan.teacher, link.hint_layer))
    )
    return (
        f"student {link.guided_layer} ({guided}) learns teacher {link.hint_layer} ({hint}) "
        f"through {link.regressor.describe()}"
    )


def _length(stage: Stage) -> str:
    epochs = "1 epoch" if stage.epochs == 1 else f"at most {stage.epochs} epochs"
    return epochs if stage.max_steps is None else f"{epochs}, at most {stage.max_steps} updates"


def conclude(result: dict[str, Any], terminal: Terminal) -> None:
    """Teacher and student side by side."""
    if terminal.quiet:
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
            [key, count(teacher[key]), count(student[key]), _ratio(teacher[key], student[key], "fewer", "more")]
        )
    rows.append(["weight file", *(f"{side['weights_bytes'] / 1000:.1f} kB" for side in (teacher, student)), ""])
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
    for side, told in (("teacher", teacher), ("student", student)):
        if told["valid_accuracy"] <= result.get("commonest_class", -1):
            terminal.say(f"note: the {side} is no better than always naming one class: it has not begun to learn")


def _points(teacher: float, student: float) -> str:
    return f"{100 * (student - teacher):+.2f} points"


def _ratio(teacher: float, student: float, less: str, more: str) -> str:
    return f"{teacher / student:.2f} x {less}" if student <= teacher else f"{student / teacher:.2f} x {more}"
