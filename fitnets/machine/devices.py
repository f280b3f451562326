"""Sets up the device that trains, and chooses the precision of its arithmetic."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from fitnets.config import Architecture, Config, Dataset, Engine, Precision, UniformInit, image_shape
from fitnets.errors import ConfigError
from fitnets.kernels import library
from fitnets.models import build, costs
from fitnets.parallel.group import Group, current
from fitnets.store import earlier_runs

_DEFAULT_THREADS = torch.get_num_threads()


def set_up_device(engine: Engine) -> torch.device:
    """Return the configured device, after setting up this process for it: threads and arithmetic.

    Raises ConfigError if there is no such device."""
    torch.set_num_threads(engine.threads or _default_threads(current()))
    library.switch(on=engine.kernels == "auto")
    torch.backends.cudnn.allow_tf32 = False  # results and hashes are labelled fp32
    torch.backends.cudnn.deterministic = True  # a resumed stage ends with the same bits
    if engine.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("engine.device=cuda: PyTorch finds no CUDA device here: give engine.device=cpu or auto")
    if engine.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return _gpu(current())


def _default_threads(group: Group) -> int:
    """PyTorch's default; for several processes this one's share of the cores, because torchrun sets OMP_NUM_THREADS=1
    whatever there is."""
    if group.size == 1:
        return _DEFAULT_THREADS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // group.local_size)


def _gpu(group: Group) -> torch.device:
    """The GPU of this process: the only visible one, or that of its number on this host.

    Raises ConfigError if the processes of this host outnumber the GPUs."""
    if group.size == 1:
        return torch.device("cuda")
    visible = torch.cuda.device_count()
    if 1 < visible < group.local_size:
        raise ConfigError(
            f"{group.local_size} processes on this host and {visible} GPUs: give torchrun --nproc-per-node={visible}"
        )
    device = torch.device("cuda", 0 if visible == 1 else group.local_rank)
    torch.cuda.set_device(device)
    return device


_COUNTED: dict[str, int] = {}
"""multiplications of the networks counted so far, see `_multiplications`"""
_WORTHWHILE = 10e6
"""multiplications for one image below which bf16 is not faster"""


def precision(config: Config, device: torch.device) -> Precision:
    """The concrete precision for `engine.precision`.

    `auto` depends on hardware, teacher, schedule and data. It does not depend on the student, so that all students of a
    sweep share one teacher. With teacher=none it depends on the student instead of the teacher.

    Raises ConfigError for bf16 on a GPU that lacks it."""
    setting, dataset = config.engine.precision, config.dataset
    if setting == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError(f"engine.precision=bf16: {describe(device)} has no bf16: give engine.precision=fp32")
    if setting != "auto":
        return setting
    architecture, inits = earlier_runs.architecture(config.teacher), [config.schedule.student_init]
    if architecture is not None:
        inits.append(config.schedule.teacher_init)
    if not multiplies_bf16(device) or any(isinstance(init, UniformInit) for init in inits):
        return "fp32"
    deciding, side = (config.student, "student") if architecture is None else (architecture, "teacher")
    return "bf16" if _multiplications(deciding, dataset, side) >= _WORTHWHILE else "fp32"


def _multiplications(net: Architecture, dataset: Dataset, side: str) -> int:
    """Multiplications for one image. The count is cached, because a paper's table needs it repeatedly."""
    key = repr((net, dataset))
    if key not in _COUNTED:
        with torch.device("meta"):
            network = build.network(net, dataset, side)
        _COUNTED[key] = costs.cost(network, image_shape(dataset)).multiplications
    return _COUNTED[key]


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether bf16 is faster than fp32 on the device: GPUs since Ampere, CPUs with AVX512-BF16, AMX or Arm's
    BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of PyTorch lack it
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def describe(device: torch.device) -> str:
    """The device in words: 'cpu, 2 threads', or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"


def describe_cpu() -> str:
    """The CPU in words: 'AMD EPYC 9R45, 2 threads'. 'cpu' stands for an unknown name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return describe(torch.device("cpu")).replace("cpu", next(iter(names), platform.processor() or "cpu"), 1)
