"""Latencies of networks, measured in turns on this machine."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fitnets.models.network import Network

# --- measured here ---


_LATENCY_BUDGET_S = 1.5
_LONG_S = 0.2


@torch.no_grad()
def latencies(
    networks: dict[str, Network], image: Tensor, batches: tuple[int, ...] = (1, 128)
) -> dict[str, dict[str, float]]:
    """Milliseconds of a forward pass in evaluation mode, by network: p50 and p95 at each batch size.

    The networks take turns, so that a busy machine slows them alike; 5 to 30 turns, as a second and a half allows.
    image: (C, H, W)."""
    found: dict[str, dict[str, float]] = {name: {} for name in networks}
    for size in batches:
        images = image.expand(size, *image.shape).contiguous()
        work = {name: partial(network.eval(), images) for name, network in networks.items()}
        for name, told in in_turns(work, image.device).items():
            found[name] |= {f"batch_{size}_{quantile}": value for quantile, value in told.items()}
    return found


def latencies_s(per_image_s: float, batches: tuple[int, ...] = (1, 128)) -> float:
    """About how long `latencies` takes. per_image_s: of a forward pass of all networks."""
    return sum(size * per_image_s * (2 + _turns(size * per_image_s)) for size in batches)


def _turns(once_s: float) -> int:
    """How often work that takes so long is repeated: 5 to 30 times, as a second and a half allows."""
    return int(min(30, max(5, _LATENCY_BUDGET_S / max(once_s, 1e-9))))


def in_turns(
    work: Mapping[str, Callable[[], Any]], device: torch.device, *, in_a_row: int = 1
) -> dict[str, dict[str, float]]:
    """`p50_ms` and `p95_ms` of each of some pieces of work, so many in a row, the first of several uncounted; one by
    one where they take long."""
    once_s = sum(timed(piece, device, repeats=1)[0] for piece in work.values())
    in_a_row = in_a_row if once_s < _LONG_S else 1
    turns = _turns(once_s * in_a_row)
    durations: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(turns):
        for name, piece in work.items():
            durations[name] += timed(piece, device, repeats=in_a_row, warm_up=in_a_row > 1)
    return {
        name: {
            "p50_ms": 1000 * statistics.median(measured),
            "p95_ms": 1000 * statistics.quantiles(measured, n=20, method="inclusive")[-1],
        }
        for name, measured in durations.items()
    }


def timed(work: Callable[[], Any], device: torch.device, *, repeats: int, warm_up: int = 1) -> list[float]:
    """Seconds of each repeat, the device's own queue included."""
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
