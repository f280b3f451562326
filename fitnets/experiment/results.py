"""`result.json`: what a run came to, in numbers."""

from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from fitnets.config import Dataset, Student, Teacher, image_shape
from fitnets.console.terminal import Terminal
from fitnets.data import splits
from fitnets.data.preprocessing import recordable
from fitnets.data.splits import Split
from fitnets.data.test_split import has_test
from fitnets.machine import devices
from fitnets.machine import latency as machine_latency
from fitnets.models import costs
from fitnets.models.network import Network
from fitnets.planning.identity import comparison_keys, teacher_seed
from fitnets.planning.plan import Plan
from fitnets.store import layout
from fitnets.training import metrics
from fitnets.training.loss_terms import HintTerm
from fitnets.training.stages import HintStage

Sides = dict[str, dict[str, Any]]
"""of the teacher and of the student"""
_OPTIONS = ("depth", "width", "layers", "budget")


def facts(plan: Plan) -> dict[str, Any]:
    """The part of `result.json` that is known before training. `classes`: their names in the order of the logits, None
    where they are unknown; `fitted`: what the preprocessing learnt (see `preprocessing.recordable`);
    `commonest_class`: fraction of the validation images, the accuracy of always naming it."""
    config = plan.config
    networks: dict[str, Network | None] = {"teacher": plan.teacher, "student": plan.student}
    return {
        "dataset": config.dataset.name,
        "method": config.method.name,
        "is_taught": any(stage.teacher is not None for stage in plan.stages),
        "schedule": config.schedule.name,
        "hashes": {
            "data": plan.data.digest,
            **plan.hashes._asdict(),
            **comparison_keys(config, plan.data.digest, plan.precision)._asdict(),
        },
        "seeds": {"dataset": config.dataset.seed, "teacher": teacher_seed(config), "student": config.seed},
        "hint": None if plan.hint is None else _hint(plan.hint),
        "classes": plan.class_names.names,
        "fitted": recordable(plan.data.fitted),
        "images": {"train": len(plan.data.train), "valid": len(plan.data.valid)},
        "commonest_class": max(plan.data.valid.class_counts(config.dataset.classes)) / len(plan.data.valid),
        **{name: _described(getattr(config, name), network, config.dataset) for name, network in networks.items()},
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
    """Accuracy and error are fractions, losses nats, `weights_bytes` the size of the weight file. `valid_*` are of the
    networks that were selected on validation (`valid_agreement`: with the teacher that taught), `test_*` of the final
    ones: others where the schedule retrains. What differs from run to run of one configuration is under `timing`:
    `stage_seconds` of all processes that trained the stage, for this run or an earlier one; `run_seconds` (added by
    `experiment`) of the process that finished the run, and what those before it worked at the stages that it went on
    with. What a killed process did after its last checkpoint is done again, and counts once."""
    known = facts(plan)
    weights_bytes = {"student": (plan.run_directory / layout.STUDENT_WEIGHTS).stat().st_size}
    networks = {"student": student}
    if plan.teacher is not None:
        weights_bytes["teacher"] = plan.teacher_weights_bytes
        networks = {"teacher": plan.teacher, **networks}
    sides = {name: known[name] | {"weights_bytes": size} | valid[name] for name, size in weights_bytes.items()}
    latency = machine_latency.latencies(networks, plan.data.train.images[0])
    found = {
        "status": "finished",
        **known,
        "stages": {
            name: {key: item for key, item in stage.items() if key != "timing"} for name, stage in stages.items()
        },
        "teacher": sides.get("teacher"),
        "student": sides["student"],
        "diagnoses": diagnoses,
        "compression": _times(sides, "parameters"),
        "fewer_multiplications": _times(sides, "multiplications"),
        "timing": {
            "stage_seconds": {name: stage["timing"]["seconds"] for name, stage in stages.items()},
            "device": devices.describe(plan.device),
            "precision": plan.precision,
            "latency": latency,
            "speedup_batch_1": _times(latency, "batch_1_p50_ms"),
            "speedup_batch_128": _times(latency, "batch_128_p50_ms"),
        },
    }
    if has_test(plan.config):
        add_test(plan, student, found, terminal)
    return found


def _times(sides: Sides, key: str) -> float | None:
    """The teacher's figure as a multiple of the student's; None for teacher=none."""
    return sides["teacher"][key] / sides["student"][key] if "teacher" in sides else None


def add_test(plan: Plan, student: Network, result: dict[str, Any], terminal: Terminal) -> None:
    """Figures of teacher and student on the test split."""
    test = splits.load_test(plan.config.dataset, plan.config.root, plan.device, terminal)
    result["hashes"]["test"] = splits.test_identity(plan.config.dataset, plan.config.root)
    result["images"]["test"] = len(test)
    teacher_logits = None
    if plan.teacher is not None:
        teacher_logits = plan.teacher_cache(terminal).logits(test, images=result["hashes"]["test"])
    for name, quality in measured(plan, student, "test", test, teacher_logits).items():
        result[name] |= quality


def _described(option: Teacher | Student, network: Network | None, dataset: Dataset) -> dict[str, Any] | None:
    """`layers`: how many convolutions and dense layers. None for teacher=none."""
    if network is None:
        return None
    given = {name: getattr(option, name, None) for name in _OPTIONS}
    return {
        "name": option.name,
        "options": {name: value for name, value in given.items() if value is not None},
        "layers": sum(
            isinstance(module, nn.Conv2d | nn.Linear)
            for part in network.trainable_parts().values()
            for module in part.modules()
        ),
    } | asdict(costs.cost(network, image_shape(dataset)))


def _hint(link: HintStage | HintTerm) -> dict[str, Any]:
    return {
        "teacher_layer": link.hint_layer,
        "student_layer": link.guided_layer,
        "regressor": link.regressor.describe(),
    }


def measured(plan: Plan, student: Network, name: str, split: Split, teacher_logits: Tensor | None) -> Sides:
    """Quality of teacher and student on a split, how often they agree there and, of the student, the confusion matrix
    (see `metrics.confusion`). teacher_logits: of the split; None for teacher=none."""
    logits, labels = predicted(plan, student, split)
    more: dict[str, Any] = {}
    if (confusion := metrics.confusion(logits, labels)) is not None:
        more[f"{name}_confusion"] = confusion
    if teacher_logits is None:
        return {"student": quality(name, logits, labels) | more}
    more[f"{name}_agreement"] = metrics.agreement(logits, teacher_logits)
    return {
        "teacher": quality(name, teacher_logits, labels),
        "student": quality(name, logits, labels) | more,
    }


def predicted(plan: Plan, network: Network, split: Split) -> tuple[Tensor, Tensor]:
    """(logits, labels), as `metrics.predict` has them."""
    return metrics.predict(network, split, plan.config.engine.eval_batch_size)


def quality(name: str, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """`metrics.quality` with the name of the split before each key: `valid_accuracy`, ..."""
    return {f"{name}_{metric}": value for metric, value in metrics.quality(logits, labels).items()}
