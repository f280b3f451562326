"""Layer-sequential unit variance: scales initial weights by what they make of real images (Mishkin and Matas, 2016)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fitnets.models.network import Network

_SMALLEST = 1e-8
"""A layer whose output has a smaller standard deviation keeps its weights: it is constant on these images."""


@torch.no_grad()
def scale(network: Network, images: Tensor) -> None:
    """Divide the weights of each convolution and each linear layer by the standard deviation of its output before bias,
    normalisation and activation, one layer after the other, so that each output has variance 1 on these images.

    The output is linear in the weights, so one division is exact; the paper's algorithm repeats it to a tolerance.

    images: (N, C, H, W), preprocessed."""
    precision, network.precision = network.precision, "fp32"
    hooks = [
        layer.register_forward_pre_hook(_scale)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        network.eval()(images)
    finally:
        for hook in hooks:
            hook.remove()
        network.precision = precision


def _scale(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    (values,) = inputs
    if isinstance(layer, nn.Conv2d):
        output = F.conv2d(values, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    else:
        assert isinstance(layer, nn.Linear)
        output = F.linear(values.flatten(1), layer.weight)
    deviation = float(output.std())
    if deviation > _SMALLEST:
        layer.weight.div_(deviation)
