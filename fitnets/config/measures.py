"""What can be asked of a run: named numbers of its student, each with a unit."""

from collections.abc import Callable
from typing import Any

MEASURES = {  # name: where in result.json
    "accuracy": "student.valid_accuracy",
    "error": "student.valid_error",
    "loss": "student.valid_loss",
    "calibration_error": "student.valid_calibration_error",
    "agreement": "student.valid_agreement",
    "parameters": "student.parameters",
    "multiplications": "student.multiplications",
    "paper_parameters": "student.paper_parameters",
    "paper_multiplications": "student.paper_multiplications",
    "weights_bytes": "student.weights_bytes",
    "latency_ms": "timing.latency.student.batch_1_p50_ms",
    "latency_128_ms": "timing.latency.student.batch_128_p50_ms",
}
"""Accuracy, errors and agreement are fractions on validation, loss is in nats; latencies are medians of a forward pass
of 1 and of 128 images"""
COSTS = ("parameters", "multiplications", "paper_parameters", "paper_multiplications")
RELATIVE = {f"relative_{name}": name for name in COSTS}
"""the student's cost as a fraction of its teacher's"""
KNOWN_BEFORE = (*COSTS, *RELATIVE)
"""These are known before training, and can be bounded."""
OF_TEACHER = ("agreement", *RELATIVE)
"""measures that there are not without a teacher"""
NAMES = (*MEASURES, *RELATIVE)
MAXIMIZED = ("accuracy", "agreement")
"""of the others, less is better"""


PRUNABLE: dict[str, Callable[[dict[str, Any]], float]] = {
    "accuracy": lambda row: 1 - row["valid_error"],
    "error": lambda row: row["valid_error"],
    "loss": lambda row: row["valid_loss"],
}
"""known after every epoch, from its row of `metrics.jsonl`"""


def of_costs(student: dict[str, int], teacher: dict[str, int] | None = None) -> dict[str, float]:
    """The measures that are known before training, from the costs of the networks; without a teacher no relative
    ones."""
    own = {name: float(student[name]) for name in COSTS}
    return own | ({} if teacher is None else {name: own[cost] / teacher[cost] for name, cost in RELATIVE.items()})


def of_result(result: dict[str, Any]) -> dict[str, float]:
    """All measures of a finished run, and its accuracy on test, where it has one. result: content of `result.json`."""
    there = {name: path for name, path in MEASURES.items() if result["teacher"] or name not in OF_TEACHER}
    found = {name: float(_at(result, path)) for name, path in there.items()}
    found |= of_costs(result["student"], result["teacher"])
    if "test_accuracy" in result["student"]:
        found["test_accuracy"] = result["student"]["test_accuracy"]
    return found


def _at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree
