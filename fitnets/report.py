"""The words of a run: the plan before it, the table after it."""

from pathlib import Path
from typing import Any

from fitnets import costs, engine, schedules
from fitnets.config import Backprop, Distill, Distillation, Hints
from fitnets.networks import Network
from fitnets.objectives import HintObjective
from fitnets.plan import Plan
from fitnets.terminal import Terminal, count, seconds


def announce(plan: Plan, terminal: Terminal) -> None:
    """What will be done, and about how long that takes here."""
    config = plan.config
    found = (
        f"found in {plan.teacher_directory}" if plan.teacher_is_trained else _epochs(plan.teacher_stage.stage.epochs)
    )
    lines = [
        f"{config.dataset.name}: {len(plan.data.train)} training and {len(plan.data.valid)} validation images",
        f"  teacher  {_describe(plan, config.teacher.name, plan.teacher)}: {found}",
        f"  student  {_describe(plan, config.student.name, plan.student)}",
    ]
    for objective in plan.stages:
        if isinstance(objective, HintObjective):
            lines.append(f"  hint     {_hint(objective)}: {_epochs(objective.stage.epochs)}")
        else:
            method = _method(config.method, config.schedule.kd, objective.stage.epochs)
            lines.append(f"  student  {method}: {_epochs(objective.stage.epochs)}")
    lines.append(f"  about    {seconds(plan.estimate_s())} of training on {engine.describe(plan.device)}")
    lines.append(f"  files    {plan.run_directory}")
    terminal.say("\n".join(lines))


def _describe(plan: Plan, name: str, network: Network) -> str:
    dataset = plan.config.dataset
    cost = costs.cost(network, (dataset.channels, dataset.height, dataset.width))
    return f"{name}, {count(cost.parameters)} parameters, {count(cost.multiplications)} multiplications an image"


def _hint(objective: HintObjective) -> str:
    guided, hint = (
        "x".join(map(str, network.named(layer).out_shape))
        for network, layer in (
            (objective.network, objective.guided_layer),
            (objective.teacher, objective.hint_layer),
        )
    )
    return (
        f"student {objective.guided_layer} ({guided}) learns teacher {objective.hint_layer} ({hint}) "
        f"through {objective.regressor.describe()}"
    )


def _method(method: Hints | Distill | Backprop, kd: Distillation, epochs: int) -> str:
    if isinstance(method, Backprop):
        return "cross-entropy with the labels"
    last = schedules.kd_weight(kd, epochs - 1, epochs)
    return f"labels and teacher, tau {kd.temperature:g}, lambda {kd.weight:g} to {last:.3g}"


def _epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"at most {number} epochs"


def conclude(result: dict[str, Any], directory: Path, terminal: Terminal) -> None:
    """Teacher and student side by side, and where the files are."""
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
    title = f"{result['method']} on {result['dataset']}; latencies are medians on {timing['device']}"
    header = ["", f"teacher\n{teacher['name']}", f"student\n{student['name']}", "student\nagainst teacher"]
    terminal.table(title, header, rows)
    terminal.say(f"done in {seconds(timing['run_seconds'])}; files in {directory}")


def _points(teacher: float, student: float) -> str:
    return f"{100 * (student - teacher):+.2f} points"


def _ratio(teacher: float, student: float, less: str, more: str) -> str:
    return f"{teacher / student:.2f} x {less}" if student <= teacher else f"{student / teacher:.2f} x {more}"
