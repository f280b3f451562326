"""Builds `result.json`: the measurements of a run, and the facts that identify it."""

from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from fitnets.config import Dataset, Student, Teacher, image_shape
from fitnets.console.terminal import Terminal
from fitnets.data import splits
from fitnets.data.preprocessing import to_json
from fitnets.data.splits import Split
from fitnets.data.unread import has_test
from fitnets.machine import devices
from fitnets.machine import latency as machine_latency
from fitnets.models import costs
from fitnets.models.network import Network
from fitnets.planning import identity
from fitnets.planning.identity import comparison_keys, teacher_seed
from fitnets.planning.plan import Plan
from fitnets.training import metrics

Sides = dict[str, dict[str, Any]]
"""figures by network: `teacher` (missing for teacher=none) and `student`"""
_OPTIONS = ("depth", "width", "layers", "budget")
"""the options of built-in networks that `result.json` records"""


def facts(plan: Plan) -> dict[str, Any]:
    """The part of `result.json` that is fixed before training. Some of its keys:

    is_taught: whether any stage uses the teacher
    classes: class names in the order of the logits; None if they are unknown
    fitted: values to which the preprocessing was fitted, see `preprocessing.to_json`
    commonest_class: the most frequent class's fraction of the validation images, which is the accuracy of always naming
        this class"""
    config = plan.config
    networks: dict[str, Network | None] = {"teacher": plan.teacher, "student": plan.student}
    return {
        "dataset": config.dataset.name,
        "method": config.method.name,
        "is_taught": any(stage.teacher is not None for stage in plan.stages),
        "schedule": config.schedule.name,
        "initial_weights": identity.initial_weights(config),
        "normalization": identity.normalization(config.student),
        "hashes": {
            "data": plan.data.digest,
            **plan.hashes._asdict(),
            **comparison_keys(config, plan.data.digest, plan.precision)._asdict(),
        },
        "seeds": {"dataset": config.dataset.seed, "teacher": teacher_seed(config), "student": config.seed},
        "hint": _hint(plan),
        "classes": plan.class_names.names,
        "fitted": to_json(plan.data.fitted),
        "images": {"train": len(plan.data.train), "valid": len(plan.data.valid)},
        "commonest_class": max(plan.data.valid.class_counts(config.dataset.classes)) / len(plan.data.valid),
        **{name: _network(getattr(config, name), network, config.dataset) for name, network in networks.items()},
    }


def result(
    plan: Plan,
    student: Network,
    terminal: Terminal,
    *,
    stages: dict[str, Any],
    valid: Sides,
    diagnoses: dict[str, Any],
) -> dict[str, Any]:
    """Measure costs, latencies and test figures of a trained run and return the content of `result.json`.

    student: the final student
    stages: summaries of the stages, by name
    valid: figures on validation, from `measured`
    diagnoses: comparisons of the student with the teacher, by stage

    Accuracy and error are fractions, losses are in nats, `weights_bytes` is the size of the weight file. `valid_*`
    belongs to the networks that were selected on validation, `valid_agreement` to the student and the teacher that
    taught it. `test_*` belongs to the final networks, which were retrained if the schedule retrains.

    `timing` has everything that differs between runs of one configuration. `stage_seconds` counts all processes that
    trained a stage, for this run or an earlier one. `teacher_seconds` is the part of them in which the teacher's
    outputs were computed into tables, or awaited from another process. `run_seconds`, which the pipeline adds, counts
    the process that finished the run, and the seconds that previous processes spent on the stages that it resumed. Work
    that a killed process did after its last checkpoint is repeated and counts once."""
    before_training = facts(plan)
    weights_bytes = {"student": (plan.run_directory / "student.safetensors").stat().st_size}
    networks = {"student": student}
    if plan.teacher is not None:
        weights_bytes["teacher"] = plan.teacher_weights_bytes
        networks = {"teacher": plan.teacher, **networks}
    sides = {
        name: before_training[name] | {"weights_bytes": size} | valid[name] for name, size in weights_bytes.items()
    }
    latency = machine_latency.latencies(networks, plan.data.train.batch(plan.data.train.rows[:1]).images[0])
    content = {
        "status": "finished",
        **before_training,
        "stopped_early": any(stage.get("stopped_by") == "stop_after" for stage in stages.values()),
        "stages": {
            name: {key: item for key, item in stage.items() if key != "timing"} for name, stage in stages.items()
        },
        "teacher": sides.get("teacher"),
        "student": sides["student"],
        "diagnoses": diagnoses,
        "compression": _teacher_to_student(sides, "parameters"),
        "fewer_multiplications": _teacher_to_student(sides, "multiplications"),
        "timing": {
            "stage_seconds": {name: stage["timing"]["seconds"] for name, stage in stages.items()},
            "teacher_seconds": {name: stage["timing"].get("teacher_seconds", 0.0) for name, stage in stages.items()},
            "device": devices.describe(plan.device),
            "precision": plan.precision,
            "latency": latency,
            "speedup_batch_1": _teacher_to_student(latency, "batch_1_p50_ms"),
            "speedup_batch_128": _teacher_to_student(latency, "batch_128_p50_ms"),
        },
    }
    if has_test(plan.config):
        add_test(plan, student, content, terminal)
    return content


def _teacher_to_student(sides: Sides, key: str) -> float | None:
    """The teacher's figure divided by the student's; None for teacher=none."""
    return sides["teacher"][key] / sides["student"][key] if "teacher" in sides else None


def add_test(plan: Plan, student: Network, result: dict[str, Any], terminal: Terminal) -> None:
    """Measure teacher and student on the test split and add the figures to `result`.

    result: the content of `result.json`, changed in place"""
    test = splits.load_test(plan.config.dataset, plan.config.root, plan.device, terminal)
    result["hashes"]["test"] = splits.test_identity(plan.config.dataset, plan.config.root)
    result["images"]["test"] = len(test)
    teacher_logits = None
    if plan.teacher is not None:
        teacher_logits = plan.teacher_cache(terminal).logits(test, images=result["hashes"]["test"])
    for name, figures in measured(plan, student, "test", test, teacher_logits).items():
        result[name] |= figures


def _network(option: Teacher | Student, network: Network | None, dataset: Dataset) -> dict[str, Any] | None:
    """Name, options and costs of a network; None for teacher=none. `layers` is the number of convolutions and dense
    layers."""
    if network is None:
        return None
    options = {name: getattr(option, name, None) for name in _OPTIONS}
    return {
        "name": option.name,
        "options": {name: value for name, value in options.items() if value is not None},
        "layers": sum(
            isinstance(module, nn.Conv2d | nn.Linear)
            for part in network.trainable_parts().values()
            for module in part.modules()
        ),
    } | asdict(costs.cost(network, image_shape(dataset)))


def _hint(plan: Plan) -> dict[str, Any] | None:
    """The pair of layers by which the student learns, of several the first; None if it learns at no pair."""
    for term in (term for stage in plan.stages for term in stage.terms):
        for link in term.links:
            regressor = term.regressor_of(link)
            return {
                "teacher_layer": link.hint,
                "student_layer": link.guided,
                "regressor": None if regressor is None else regressor.describe(),
            }
    return None


def measured(plan: Plan, student: Network, name: str, split: Split, teacher_logits: Tensor | None) -> Sides:
    """Measure teacher and student on a split. The student's figures also have its confusion matrix (see
    `metrics.confusion`) and its agreement with the teacher.

    name: the split's name, which every key starts with
    teacher_logits: (N, classes), the teacher's logits of the split; None for teacher=none"""
    logits, labels = predict(plan, student, split)
    figures = quality(name, logits, labels)
    if (confusion := metrics.confusion(logits, labels)) is not None:
        figures[f"{name}_confusion"] = confusion
    if teacher_logits is None:
        return {"student": figures}
    figures[f"{name}_agreement"] = metrics.agreement(logits, teacher_logits)
    return {"teacher": quality(name, teacher_logits, labels), "student": figures}


def predict(plan: Plan, network: Network, split: Split) -> tuple[Tensor, Tensor]:
    """`metrics.predict` with the batch size of the configuration: logits (N, classes) and labels (N,)."""
    return metrics.predict(network, split, plan.config.engine.eval_batch_size)


def quality(name: str, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """`metrics.quality` with the name of the split before each key, such as `valid_accuracy`."""
    return {f"{name}_{metric}": value for metric, value in metrics.quality(logits, labels).items()}
