"""Latencies: what is timed, in which order, and which quantiles are kept. A clock is moved by the work itself."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fitnets.machine import latency

CPU = torch.device("cpu")


class Clock:
    """A clock that each call of `work` moves on by the next of some durations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now_s, self.order = 0.0, []
        monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: self.now_s))

    def work(self, name: str, durations_s):
        durations = iter(durations_s)

        def call() -> None:
            self.order.append(name)
            self.now_s += next(durations)

        return call


@pytest.fixture
def clock(monkeypatch) -> Clock:
    monkeypatch.setattr(latency, "_LATENCY_BUDGET_S", 1.5)
    monkeypatch.setattr(latency, "_LEAST_TURNS", 5)
    return Clock(monkeypatch)


def test_median_and_95th_percentile_in_milliseconds_without_the_warm_up(clock):
    warm_up_and_first = [9.0, 0.5]  # a first call that takes half a second leaves the least number of turns, 5
    work = {"network": clock.work("network", [*warm_up_and_first, 0.010, 0.040, 0.020, 0.030, 0.050])}
    measured = latency.in_turns(work, CPU, in_a_row=1)
    assert len(clock.order) == 7
    assert measured["network"]["p50_ms"] == pytest.approx(30)
    assert measured["network"]["p95_ms"] == pytest.approx(48)


def test_networks_take_turns(clock):
    work = {name: clock.work(name, [0.3] * 20) for name in ("teacher", "student")}
    latency.in_turns(work, CPU)
    assert clock.order == ["teacher"] * 2 + ["student"] * 2 + ["teacher", "student"] * 5


def test_quick_functions_are_called_in_a_row_after_a_warm_up(clock):
    work = {name: clock.work(name, [0.01] * 200) for name in ("onnx", "torch")}
    latency.in_turns(work, CPU, in_a_row=3)
    assert clock.order[4:12] == ["onnx"] * 4 + ["torch"] * 4


@pytest.mark.parametrize(("once_s", "turns"), [(0.001, 30), (0.1, 15), (10, 5)])
def test_as_many_turns_as_the_time_allows(clock, once_s, turns):
    assert latency._turns(once_s) == turns


def test_each_batch_size_has_its_own_figures(clock):
    sizes = []

    class Sized(nn.Module):
        def forward(self, images):
            sizes.append(len(images))

    network = Sized()
    measured = latency.latencies({"student": network}, torch.zeros(1, 8, 8), batches=(1, 4))
    assert set(measured["student"]) == {"batch_1_p50_ms", "batch_1_p95_ms", "batch_4_p50_ms", "batch_4_p95_ms"}
    assert set(sizes) == {1, 4}
