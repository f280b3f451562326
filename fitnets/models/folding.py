"""Folds batch normalisation into the linear maps before it, for exporting and measuring a trained network."""

import copy

import torch
from torch import nn

from fitnets.models.layers import Conv2d, Dense
from fitnets.models.network import Network


@torch.no_grad()
def folded(network: Network) -> Network:
    """Return a copy of a network in evaluation mode, in which each normalised linear map has become a plain one.

    With running mean m, running variance v, scale g and shift b, the map (w x - m) g / sqrt(v + eps) + b has the
    weights w g / sqrt(v + eps) and the bias b - m g / sqrt(v + eps). The outputs are equal except for rounding. A
    network without such maps is returned as it is: batch normalisation that comes before a linear map, or after
    another operation, stays."""
    if not any(_is_normalized(part) for part in network.modules()):
        return network
    copied = copy.deepcopy(network).eval()
    for part in copied.modules():
        if isinstance(part, Conv2d | Dense) and part.norm is not None:
            _fold(part, part.norm)
    return copied


def _is_normalized(part: nn.Module) -> bool:
    return isinstance(part, Conv2d | Dense) and part.norm is not None


def _fold(part: Conv2d | Dense, norm: nn.BatchNorm2d | nn.BatchNorm1d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    part.weight.mul_(scale.view(-1, *[1] * (part.weight.ndim - 1)))
    shift = norm.bias - norm.running_mean * scale
    if isinstance(part, Conv2d) and part.untied_bias is not None:
        part.untied_bias.add_(shift.view(-1, 1, 1))
    else:
        part.bias = nn.Parameter(shift)
    part.norm = None
