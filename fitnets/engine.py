"""The machine: device, threads, precision, and what is measured on it: latencies."""

import ctypes
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitnets import build, costs, places, stored
from fitnets.config import Architecture, Config, Dataset, Engine, Precision, UniformInit, image_shape
from fitnets.networks import Network
from fitnets.options import ConfigError, without_passwords

_PACKAGES = ("torch", "numpy", "hydra-core", "omegaconf", "datasets", "wandb", "safetensors")


_DEFAULT_THREADS = torch.get_num_threads()


def device(engine: Engine) -> torch.device:
    """The device asked for, with the process set up for it: threads, arithmetic, memory. Raises ConfigError if there is
    no such device."""
    torch.set_num_threads(engine.threads or _DEFAULT_THREADS)
    torch.backends.cudnn.allow_tf32 = False  # fp32 is what results and hashes say
    torch.backends.cudnn.deterministic = True  # a stage that goes on after a stop ends with the same bits
    _keep_freed_memory()
    if engine.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("engine.device=cuda: PyTorch finds no CUDA device here: give engine.device=cpu or auto")
    if engine.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(engine.device)


_COUNTED: dict[str, int] = {}
_WORTHWHILE = 10e6
"""multiplications of an image by the teacher, below which bf16 gains nothing"""


def precision(config: Config, device: torch.device) -> Precision:
    """What `engine.precision` comes to. A function of hardware, teacher, schedule and data alone: a student changes
    nothing, so that one teacher is enough for a sweep. With teacher=none the student decides.

    Raises ConfigError for a GPU that has no bf16."""
    asked, dataset = config.engine.precision, config.dataset
    if asked == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(f"engine.precision=bf16: {describe(device)} has none: give engine.precision=fp32")
    if asked != "auto":
        return asked
    architecture, inits = stored.architecture(config.teacher), [config.schedule.student_init]
    if architecture is not None:
        inits.append(config.schedule.teacher_init)
    if not _multiplies_bf16(device) or any(isinstance(init, UniformInit) for init in inits):
        return "fp32"
    deciding, side = (config.student, "student") if architecture is None else (architecture, "teacher")
    return "bf16" if _multiplications(deciding, dataset, side) >= _WORTHWHILE else "fp32"


def _multiplications(net: Architecture, dataset: Dataset, side: str) -> int:
    """Of one image. Counted once for each network and data set: a table of the paper asks for the same ones often."""
    key = repr((net, dataset))
    if key not in _COUNTED:
        with torch.device("meta"):
            network = build.network(net, dataset, side)
        _COUNTED[key] = costs.cost(network, image_shape(dataset)).multiplications
    return _COUNTED[key]


def _multiplies_bf16(device: torch.device) -> bool:
    """Whether that is faster than fp32 there: GPUs since Ampere, CPUs with AVX512-BF16, AMX or Arm's BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of PyTorch do not tell
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _keep_freed_memory() -> None:
    """The C library returns large freed blocks to the system, and PyTorch's are large: a third of a small student's
    step went into getting them again. Kept, they are used again. Elsewhere than with glibc nothing happens."""
    no_mapped_blocks, trim_above = (-4, 0), (-1, 2**31 - 1)  # M_MMAP_MAX, M_TRIM_THRESHOLD of <malloc.h>
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for parameter, value in (no_mapped_blocks, trim_above):
            library.mallopt(parameter, value)


def describe(device: torch.device) -> str:
    """'cpu, 2 threads', or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"


def describe_cpu() -> str:
    """'AMD EPYC 9R45, 2 threads': the CPU's name where the system tells it."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        told = []
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return describe(torch.device("cpu")).replace("cpu", next(iter(names), platform.processor() or "cpu"), 1)


def environment(device: torch.device) -> dict[str, Any]:
    """What the run was made with; no part of it changes what the run is."""
    return {
        "started_at": datetime.now().astimezone().isoformat(timespec="seconds"),
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
    if places.ROOT.is_relative_to(here):  # a wheel's, in somebody else's checkout perhaps
        return None
    try:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, encoding="utf-8", errors="replace", check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


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
