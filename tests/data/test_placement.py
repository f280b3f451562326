"""Layout, arithmetic and copies on every kind of device, in every precision."""

import pytest
import torch

from fitnets.data.placement import Placement
from fitnets.models.network import place
from support.stages import prepared

FIRST, LAST = torch.contiguous_format, torch.channels_last
COMBINATIONS = [  # kind, precision, autocasts, layout, pins
    ("cpu", "fp32", False, LAST, False),
    ("cpu", "bf16", True, LAST, False),
    ("cuda", "fp32", False, FIRST, True),
    ("cuda", "bf16", True, LAST, True),
    ("meta", "fp32", False, LAST, False),
    ("meta", "bf16", False, LAST, False),
]


@pytest.mark.parametrize(("kind", "precision", "autocasts", "layout", "pins"), COMBINATIONS)
def test_every_combination(kind, precision, autocasts, layout, pins):
    placement = Placement(kind, precision)
    assert (placement.autocasts, placement.layout, placement.pins) == (autocasts, layout, pins)


@pytest.mark.parametrize("layout", [FIRST, LAST])
def test_networks_lie_as_it_decides(tiny, tmp_path, monkeypatch, layout):
    monkeypatch.setattr(Placement, "layout", layout)
    student = place(prepared(tiny, tmp_path).student, torch.device("cpu"), "fp32")
    assert student.layers["conv2"].conv.weight.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("autocasts", [True, False])
def test_networks_compute_as_it_decides(tiny, tmp_path, monkeypatch, autocasts):
    monkeypatch.setattr(Placement, "autocasts", autocasts)
    plan = prepared(tiny, tmp_path)
    features = plan.student.features(plan.data.train.batch(plan.data.train.rows[:2]).images, ["conv1"])
    assert features["conv1"].dtype == (torch.bfloat16 if autocasts else torch.float32)
