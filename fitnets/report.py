"""The words of a run: the plan before it, the table after it."""

from pathlib import Path
from typing import Any

from fitnets import costs, engine
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
            lines.append(f"  student  {_method(config.method, config.schedule.kd)}: {_epochs(objective.stage.epochs)}")
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


def _method(method: Hints | Distill | Backprop, kd: Distillation) -> str:
    if isinstance(method, Backprop):
        return "cross-entropy with the labels"
    return f"labels and teacher, tau {kd.temperature:g}, lambda {kd.weight:g} to {kd.weight_end:g}"


def _epochs(number: int) -> str:
    return f"at most {number} epochs"


def conclude(result: dict[str, Any], directory: Path, terminal: Terminal) -> None:
    """Teacher and student side by side, and where the files are."""
    teacher, student, timing = result["teacher"], result["student"], result["timing"]
    rows = [
        [
            f"{label} accuracy",
            *(f"{100 * side[key]:.2f} %" for side in (teacher, student)),
            _points(teacher, student, key),
        ]
        for label, key in (("validation", "valid_accuracy"), ("test", "test_accuracy"))
        if key in student
    ]
    for label, key in (("parameters", "parameters"), ("multiplications", "multiplications")):
        ratio = f"{teacher[key] / student[key]:.2f} x fewer"
        rows.append([label, count(teacher[key]), count(student[key]), ratio])
    rows.append(
        ["weight file", *(f"{side['weights_bytes'] / 1000:.1f} kB" for side in (teacher, student)), ""],
    )
    for size in (1, 128):
        times = [timing["latency"][side][f"batch_{size}_p50_ms"] for side in ("teacher", "student")]
        rows.append([f"latency, batch {size}", *(f"{time:.2f} ms" for time in times), _faster(times)])
    title = (
        f"{result['method']} on {result['dataset']} (an image's multiplications; median latency, {timing['device']})"
    )
    terminal.table(
        title, ["", f"teacher\n{teacher['name']}", f"student\n{student['name']}", "student\nagainst teacher"], rows
    )
    total_s = sum(timing["stage_seconds"].values())
    terminal.say(f"trained in {seconds(total_s)}; files in {directory}")


def _faster(times: list[float]) -> str:
    teacher, student = times
    return f"{teacher / student:.2f} x faster" if student <= teacher else f"{student / teacher:.2f} x slower"


def _points(teacher: dict[str, Any], student: dict[str, Any], key: str) -> str:
    return f"{100 * (student[key] - teacher[key]):+.2f} points"
