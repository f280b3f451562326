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
    """Write a network's state dict. Each tensor is copied, because safetensors refuses tensors that share memory."""
    state = network.state_dict()
    copies = {name: values.cpu().clone(memory_format=torch.contiguous_format) for name, values in state.items()}
    write(path, save(copies))


def read_weights(path: Path, network: nn.Module) -> None:
    """Load weights into the network. Raises DamagedError if the file cannot be read, or belongs to another network."""
    permissions.check_readable(path)
    try:
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedError(f"{path} cannot be read as weights of this network ({reason})") from error
