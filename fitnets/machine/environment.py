"""Records the environment of a run for `environment.json`: versions, commit, device, threads."""

import platform
import subprocess
import sys
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import torch

from fitnets import paths
from fitnets.errors import without_passwords
from fitnets.kernels import library
from fitnets.machine.devices import describe
from fitnets.parallel import group

_PACKAGES = ("torch", "numpy", "hydra-core", "omegaconf", "datasets", "wandb", "safetensors")


def environment_record(device: torch.device) -> dict[str, Any]:
    """Describe the environment of this process. Nothing in it is part of a hash."""
    return {
        "started_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "started_by": [without_passwords(word) for word in sys.argv],
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": _git("status", "--porcelain", "--untracked-files=no") not in (None, ""),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _versions(),
        "device": describe(device),
        "processes": group.current().size,
        "threads": torch.get_num_threads(),
        "kernels": library.describe(),
    }


@cache
def _versions() -> dict[str, str]:
    """Return the versions of the packages that this process imported or would import."""
    return {name: version(name) for name in _PACKAGES}


@cache
def _git(*arguments: str) -> str | None:
    """Run git in this package's checkout and return its output; None without git or without a checkout.

    Git is asked once in a process, because the code that runs is that of the process's start."""
    if paths.IS_WHEEL:  # an installed package may lie inside a user's own checkout
        return None
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
