"""The machine: device, threads, precision, and what is measured on it: latencies."""

import ctypes
import platform
from pathlib import Path
from typing import Any

import torch

from fitnets.config import Architecture, Config, Dataset, Engine, Precision, UniformInit, image_shape
from fitnets.errors import ConfigError
from fitnets.models import build, costs
from fitnets.store import earlier_runs

_DEFAULT_THREADS = torch.get_num_threads()


def set_up_device(engine: Engine) -> torch.device:
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
    architecture, inits = earlier_runs.architecture(config.teacher), [config.schedule.student_init]
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
