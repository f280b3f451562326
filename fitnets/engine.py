"""The machine: device, threads, and what it measures: latencies, and how long a run will take."""

import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitnets.config import Engine
from fitnets.data import Split
from fitnets.networks import Network
from fitnets.objectives import Objective, train_mode
from fitnets.options import ConfigError, without_passwords

_PACKAGES = ("torch", "numpy", "hydra-core", "omegaconf", "datasets", "wandb", "safetensors")


_DEFAULT_THREADS = torch.get_num_threads()


def device(engine: Engine) -> torch.device:
    """The device asked for, with the CPU threads set. Raises ConfigError if there is no such device."""
    torch.set_num_threads(engine.threads or _DEFAULT_THREADS)
    torch.backends.cudnn.allow_tf32 = False  # fp32 is what results and hashes say
    if engine.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("engine.device=cuda: PyTorch finds no CUDA device here: give engine.device=cpu or auto")
    if engine.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(engine.device)


def describe(device: torch.device) -> str:
    """'cpu, 2 threads', or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"


def environment(device: torch.device) -> dict[str, Any]:
    """What the run was made with; no part of it changes what the run is."""
    return {
        "started_by": [without_passwords(word) for word in sys.argv],
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": _git("status", "--porcelain", "--untracked-files=no") not in (None, ""),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in _PACKAGES},
        "device": describe(device),
        "threads": torch.get_num_threads(),
    }


def _git(*words: str) -> str | None:
    """Git's answer about the checkout of this package; None without git or a checkout."""
    here = Path(__file__).resolve().parent
    try:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


# --- measured here ---


def seconds_per_image(trial: Objective, train: Split, batch_size: int = 64) -> float:
    """Forward and backward of one training step. trial: a copy, since its networks get gradients."""
    images, labels = train.batch(train.rows[:batch_size])
    train_mode(trial)

    def step() -> None:
        loss, _ = trial.step(images, labels, 0)
        loss.backward()  # type: ignore[no-untyped-call]

    return statistics.median(timed(step, images.device, repeats=3)) / len(images)


_LATENCY_BUDGET_S = 1.5


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
        once_s = sum(timed(forward, image.device, repeats=1)[0] for forward in work.values())
        turns = int(min(30, max(5, _LATENCY_BUDGET_S / once_s)))
        durations: dict[str, list[float]] = {name: [] for name in networks}
        for _ in range(turns):
            for name, forward in work.items():
                durations[name] += timed(forward, image.device, repeats=1, warm_up=0)
        for name, measured in durations.items():
            found[name][f"batch_{size}_p50_ms"] = 1000 * statistics.median(measured)
            found[name][f"batch_{size}_p95_ms"] = 1000 * statistics.quantiles(measured, n=20, method="inclusive")[-1]
    return found


def timed(work: Callable[[], Any], device: torch.device, *, repeats: int, warm_up: int = 1) -> list[float]:
    """Seconds of each repeat, the device's own queue included."""
    durations = []
    for turn in range(warm_up + repeats):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn >= warm_up:
            durations.append(time.perf_counter() - started)
    return durations
