"""Weights of networks as safetensors files."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from fitnets.errors import DamagedError
from fitnets.store.files import write
from fitnets.system import permissions


def write_weights(path: Path, network: nn.Module) -> None:
    """Each tensor by itself: safetensors refuses those that share their memory."""
    state = network.state_dict()
    write(
        path, save({name: values.cpu().clone(memory_format=torch.contiguous_format) for name, values in state.items()})
    )


def read_weights(path: Path, network: nn.Module) -> None:
    """Raises DamagedError where the file cannot be read, or is another network's."""
    permissions.check_readable(path)
    try:
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedError(f"{path} cannot be read as these weights ({reason})") from error
