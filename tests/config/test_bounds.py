"""Bounds stand beside the fields that they bound."""

from dataclasses import replace

import pytest

from fitnets import checks
from fitnets.composition import loading
from fitnets.config import options
from fitnets.config.options import POSITIVE, Bounds, added, bounded, option
from fitnets.errors import ConfigError


@pytest.mark.parametrize(
    ("bounds", "value", "is_allowed"),
    [
        (Bounds(1), 1, True),
        (Bounds(1), 0, False),
        (Bounds(1), float("inf"), False),
        (Bounds(1), float("nan"), False),
        (Bounds(0, 0.5), 0.5, True),
        (Bounds(0, 0.5), 0.6, False),
        (POSITIVE, 0, False),
        (POSITIVE, 1e-9, True),
    ],
)
def test_bounds_include_both_ends_and_finite_numbers_alone(bounds, value, is_allowed):
    assert bounds.allow(value) is is_allowed


@pytest.mark.parametrize(
    ("bounds", "text"),
    [(Bounds(1), "at least 1, finite"), (POSITIVE, "more than 0, finite"), (Bounds(0, 0.5), "from 0 to 0.5")],
)
def test_bounds_in_words(bounds, text):
    assert str(bounds) == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["++schedule.student.lr_scale.conv1=-1"], "schedule.student.lr_scale.conv1=-1.0 is out of range: at least 0"),
        (["++schedule.student.max_norm.conv=0"], "schedule.student.max_norm.conv=0.0 is out of range: more than 0"),
        (["+sweep.budgets.parameters=0"], "sweep.budgets.parameters=0.0 is out of range: more than 0"),
        (["teacher.convs.1.units=0"], "teacher.convs.1.units=0 is out of range: at least 1"),
        (["dataset=cifar10", "teacher.dense.0.pieces=0"], "teacher.dense.0.pieces=0 is out of range: at least 1"),
        (["schedule.student.max_grad_norm=0"], "schedule.student.max_grad_norm=0.0 is out of range: more than 0"),
    ],
)
def test_numbers_in_tables_and_lists_are_bounded(words, message):
    with pytest.raises(ConfigError) as raised:
        loading.load(words)
    assert message in str(raised.value)


def test_a_new_field_inherits_no_bounds_from_one_of_the_same_name(monkeypatch):
    monkeypatch.setattr(options, "OPTIONS", dict(options.OPTIONS))

    @option
    class Later:
        epochs: int
        lr: float = bounded(POSITIVE)
        momentum: float | None = added(default=None, bounds=Bounds(0, 1))

    broken = list(checks._out_of_range(Later(epochs=0, lr=0, momentum=2)))
    assert broken == ["lr=0 is out of range: more than 0, finite", "momentum=2 is out of range: from 0 to 1"]


def test_arguments_of_a_custom_network_have_no_bounds():
    config = loading.load(["teacher=custom", "teacher.target=own_models.small", "method=kd", "hint_layer=none"])
    teacher = replace(config.teacher, args={"epochs": 0, "lr": -1, "convs": [{"units": 0}]})
    assert list(checks._out_of_range(replace(config, teacher=teacher))) == []
