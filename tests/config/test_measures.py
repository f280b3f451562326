"""The registry of measures: places, units, directions, and which of them exist before training or without a teacher."""

import pytest

from fitnets.config import measures
from fitnets.console import quantities

COSTS = {"parameters": 40, "multiplications": 600, "paper_parameters": 30, "paper_multiplications": 500}
TEACHER = {name: 10 * value for name, value in COSTS.items()}
RELATIVE = {f"relative_{name}": 0.1 for name in COSTS}
RESULT = {
    "student": {
        "valid_accuracy": 0.75,
        "valid_error": 0.25,
        "valid_loss": 0.5,
        "valid_calibration_error": 0.125,
        "valid_agreement": 0.875,
        "weights_bytes": 4096,
        "test_accuracy": 0.7,
        **COSTS,
    },
    "teacher": TEACHER,
    "timing": {"latency": {"student": {"batch_1_p50_ms": 1.5, "batch_128_p50_ms": 20.0}}},
}
ALL = {
    "accuracy": 0.75,
    "error": 0.25,
    "loss": 0.5,
    "calibration_error": 0.125,
    "agreement": 0.875,
    **COSTS,
    "weights_bytes": 4096,
    "latency_ms": 1.5,
    "latency_128_ms": 20,
    **RELATIVE,
}


def test_every_measure_is_read_from_a_result():
    assert measures.of_result(RESULT) == pytest.approx(ALL | {"test_accuracy": 0.7})
    assert list(ALL) == list(measures.NAMES)


def test_without_a_teacher_there_is_nothing_to_compare_with():
    alone = measures.of_result(RESULT | {"teacher": None})
    assert set(measures.of_result(RESULT)) - set(alone) == {"agreement", *RELATIVE} == set(measures.NEED_TEACHER)
    assert measures.of_costs(COSTS) == COSTS


def test_costs_are_known_before_training():
    assert measures.of_costs(COSTS, TEACHER) == pytest.approx(COSTS | RELATIVE)
    assert set(measures.COSTS) == {*COSTS, *RELATIVE}


def test_a_pruner_gets_the_value_of_an_epoch():
    row = {"valid_error": 0.25, "valid_loss": 0.5}
    values = {name: of_epoch(row) for name, of_epoch in measures.PRUNABLE.items()}
    assert values == {name: ALL[name] for name in ("accuracy", "error", "loss")}


def test_more_accuracy_and_agreement_are_better_and_less_of_anything_else():
    maximized = {name for name, measure in measures.MEASURES.items() if measure.maximize}
    assert maximized == {"accuracy", "agreement"}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("accuracy", 0.98614, "98.61 %"),
        ("test_accuracy", 1, "100.00 %"),
        ("loss", 0.21314159, "0.2131 nats"),
        ("multiplications", 4_970_000, "4.97 M"),
        ("relative_parameters", 0.1234, "0.123 x"),
        ("weights_bytes", 456_952, "457 kB"),
        ("latency_128_ms", 1.234, "1.23 ms"),
    ],
)
def test_a_measure_is_shown_with_its_unit(name, value, shown):
    assert quantities.in_unit(value, measures.unit_of(name)) == shown


def test_every_unit_can_be_shown():
    for measure in measures.MEASURES.values():
        assert quantities.in_unit(1, measure.unit)
    with pytest.raises(ValueError, match="no such unit: miles"):
        quantities.in_unit(1, "miles")
