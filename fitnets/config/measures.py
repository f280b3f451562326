"""The measures of a run: named numbers of its student, each with a unit. A study's objectives and budgets name them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["fraction", "nats", "count", "bytes", "ms", "ratio"]
"""fraction: 0 to 1; ms: milliseconds; ratio: the student's value divided by the teacher's"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure. Every number is measured on validation images or on the network alone, never on test images."""

    unit: Unit
    path: str
    """dotted path of the value in result.json; for a ratio, the path of the student's value"""
    maximize: bool = False
    """True: more is better; False: less is better"""
    is_cost: bool = False
    """known before training, so that `sweep.budgets` can bound it"""
    needs_teacher: bool = False
    """a comparison with the teacher, which does not exist with teacher=none"""
    of_epoch: Callable[[dict[str, Any]], float] | None = None
    """the value after an epoch, from the epoch's row in metrics.jsonl; a pruner needs a measure with this function"""


def _cost(name: str) -> Measure:
    return Measure(unit="count", path=f"student.{name}", is_cost=True)


def _relative(name: str) -> Measure:
    return Measure(unit="ratio", path=f"student.{name}", is_cost=True, needs_teacher=True)


def _latency(images: int) -> Measure:
    """The median time of a forward pass of this many images, in milliseconds."""
    return Measure(unit="ms", path=f"timing.latency.student.batch_{images}_p50_ms")


MEASURES = {
    "accuracy": Measure(
        unit="fraction", path="student.valid_accuracy", maximize=True, of_epoch=lambda row: 1 - row["valid_error"]
    ),
    "error": Measure(unit="fraction", path="student.valid_error", of_epoch=lambda row: row["valid_error"]),
    "loss": Measure(unit="nats", path="student.valid_loss", of_epoch=lambda row: row["valid_loss"]),
    "calibration_error": Measure(unit="fraction", path="student.valid_calibration_error"),
    "agreement": Measure(unit="fraction", path="student.valid_agreement", maximize=True, needs_teacher=True),
    "parameters": _cost("parameters"),
    "multiplications": _cost("multiplications"),
    "paper_parameters": _cost("paper_parameters"),
    "paper_multiplications": _cost("paper_multiplications"),
    "weights_bytes": Measure(unit="bytes", path="student.weights_bytes"),
    "latency_ms": _latency(1),
    "latency_128_ms": _latency(128),
    "relative_parameters": _relative("parameters"),
    "relative_multiplications": _relative("multiplications"),
    "relative_paper_parameters": _relative("paper_parameters"),
    "relative_paper_multiplications": _relative("paper_multiplications"),
}
TEST_ACCURACY = "test_accuracy"
"""reported beside the measures of a run that was evaluated on test; not allowed as an objective"""

NAMES = tuple(MEASURES)
COSTS = tuple(name for name, measure in MEASURES.items() if measure.is_cost)
NEED_TEACHER = tuple(name for name, measure in MEASURES.items() if measure.needs_teacher)
PRUNABLE = {name: measure.of_epoch for name, measure in MEASURES.items() if measure.of_epoch is not None}
LATENCIES = tuple(name for name, measure in MEASURES.items() if measure.unit == "ms")
"""measures that depend on the machine and on its other load"""


def unit_of(name: str) -> Unit:
    return "fraction" if name == TEST_ACCURACY else MEASURES[name].unit


def of_costs(student: dict[str, int], teacher: dict[str, int] | None = None) -> dict[str, float]:
    """The measures that are known before training.

    student, teacher: costs of the networks by name; teacher=None: ratios are left out"""
    return _values(COSTS, {"student": student, "teacher": teacher})


def of_result(result: dict[str, Any]) -> dict[str, float]:
    """All measures of a finished run, and its accuracy on test if it has one. result: content of `result.json`."""
    values = _values(NAMES, result)
    if TEST_ACCURACY in result["student"]:
        values[TEST_ACCURACY] = result["student"][TEST_ACCURACY]
    return values


def _values(names: tuple[str, ...], result: dict[str, Any]) -> dict[str, float]:
    values = {}
    for name in names:
        measure = MEASURES[name]
        if measure.needs_teacher and not result["teacher"]:
            continue
        values[name] = float(_at(result, measure.path))
        if measure.unit == "ratio":
            values[name] /= _at(result, measure.path.replace("student.", "teacher.", 1))
    return values


def _at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree
