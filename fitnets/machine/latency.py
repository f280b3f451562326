"""Measures latencies of networks on this machine. The networks take turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fitnets.models.folding import folded
from fitnets.models.network import Network

_LATENCY_BUDGET_S = 1.5
"""seconds that the turns of one measurement take, unless `_LEAST_TURNS` take longer"""
_LEAST_TURNS = 5
"""turns of a measurement, however long they take"""
_LONG_S = 0.2
"""A turn that takes longer than this many seconds calls each function once."""


@torch.no_grad()
def latencies(
    networks: dict[str, Network], image: Tensor, batches: tuple[int, ...] = (1, 128)
) -> dict[str, dict[str, float]]:
    """Time forward passes in evaluation mode, with batch normalisation folded where it can be, as it is in exported
    files. The networks take turns, so that a busy machine slows all of them alike.

    image: (C, H, W)
    batches: batch sizes

    Returns for each network the median and the 95th percentile in milliseconds: `batch_<size>_p50_ms` and
    `batch_<size>_p95_ms`."""
    measured: dict[str, dict[str, float]] = {name: {} for name in networks}
    for size in batches:
        images = image.expand(size, *image.shape).contiguous()
        work = {name: partial(folded(network.eval()), images) for name, network in networks.items()}
        for name, quantiles in in_turns(work, image.device).items():
            measured[name] |= {f"batch_{size}_{quantile}": value for quantile, value in quantiles.items()}
    return measured


def latencies_s(per_image_s: float, batches: tuple[int, ...] = (1, 128)) -> float:
    """Estimate the seconds that `latencies` takes.

    per_image_s: seconds of a forward pass through all networks, per image"""
    return sum(size * per_image_s * (2 + _turns(size * per_image_s)) for size in batches)


def _turns(once_s: float) -> int:
    """Number of turns for work that takes this many seconds: `_LEAST_TURNS` to 30, as many as the budget allows."""
    return int(min(30, max(_LEAST_TURNS, _LATENCY_BUDGET_S / max(once_s, 1e-9))))


def in_turns(
    work: Mapping[str, Callable[[], Any]], device: torch.device, *, in_a_row: int = 1
) -> dict[str, dict[str, float]]:
    """Time several functions in alternation: 5 to 30 turns.

    in_a_row: timed calls of a function per turn, after one warm-up call. With 1, or if the functions take longer than
        0.2 s together, a turn is one call without warm-up.

    Returns for each function the median and the 95th percentile in milliseconds: `p50_ms` and `p95_ms`."""
    once_s = sum(timed(function, device, repeats=1)[0] for function in work.values())
    in_a_row = in_a_row if once_s < _LONG_S else 1
    turns = _turns(once_s * in_a_row)
    durations: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(turns):
        for name, function in work.items():
            durations[name] += timed(function, device, repeats=in_a_row, warm_up=in_a_row > 1)
    return {
        name: {
            "p50_ms": 1000 * statistics.median(measured),
            "p95_ms": 1000 * statistics.quantiles(measured, n=20, method="inclusive")[-1],
        }
        for name, measured in durations.items()
    }


def timed(work: Callable[[], Any], device: torch.device, *, repeats: int, warm_up: int = 1) -> list[float]:
    """Time repeated calls of a function. Each call ends when the device has finished its work.

    warm_up: calls before the timed ones

    Returns the seconds of each repeat."""
    durations = [_on_gpu(work) if device.type == "cuda" else _on_cpu(work) for _ in range(warm_up + repeats)]
    return durations[warm_up:]


def _on_cpu(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _on_gpu(work: Callable[[], Any]) -> float:
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    started.record()
    work()
    ended.record()
    ended.synchronize()
    return float(started.elapsed_time(ended)) / 1000
