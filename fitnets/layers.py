"""Maxout layers (Goodfellow et al., 2013) as the paper's networks use them."""

from functools import reduce
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def maxout(linear: Tensor, pieces: int) -> Tensor:
    """(N, pieces * units, ...) -> (N, units, ...): the maximum of the pieces, which are stored one after the other."""
    return reduce(torch.maximum, linear.chunk(pieces, dim=1))


class MaxoutConv2d(nn.Conv2d):
    """The maximum over `pieces` convolutions. (N, C, H, W) -> (N, units, H', W').

    weight: (pieces * units, C, K, K). Tied biases: one a channel; untied: (pieces * units, H', W')."""

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        units: int,
        kernel: tuple[int, int],
        *,
        pad: int = 0,
        pieces: int = 2,
        tied_biases: bool = True,
    ):
        super().__init__(in_shape[0], pieces * units, kernel, padding=pad, bias=tied_biases)
        self.pieces = pieces
        height, width = (size + 2 * pad - k + 1 for size, k in zip(in_shape[1:], kernel, strict=True))
        self.out_shape = (units, height, width)
        self.untied_bias = None if tied_biases else nn.Parameter(torch.zeros(pieces * units, height, width))

    @property
    def tied_biases(self) -> bool:
        return self.untied_bias is None

    def forward(self, images: Tensor) -> Tensor:
        linear = super().forward(images)
        return maxout(linear if self.untied_bias is None else linear + self.untied_bias, self.pieces)


class MaxoutLinear(nn.Linear):
    """The maximum over `pieces` linear maps of the flattened input. (N, ...) -> (N, units)."""

    def __init__(self, in_features: int, units: int, *, pieces: int):
        super().__init__(in_features, pieces * units)
        self.pieces = pieces

    def forward(self, features: Tensor) -> Tensor:
        return maxout(super().forward(features.flatten(1)), self.pieces)


class ConvLayer(nn.Module):
    """A maxout convolution and its pooling, which keeps the windows that reach over the edge (ceil mode)."""

    kind: ClassVar[str] = "conv"

    def __init__(self, conv: MaxoutConv2d, pool: int | None, stride: int):
        super().__init__()
        self.conv = conv
        self.pool = nn.MaxPool2d(pool, stride, ceil_mode=True) if pool else nn.Identity()
        units, height, width = conv.out_shape
        if pool:
            height, width = (-(-(size - pool) // stride) + 1 for size in (height, width))
        self.out_shape: tuple[int, ...] = (units, height, width)
        self.pieces = conv.pieces
        self.tied_biases = conv.tied_biases

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.pool(self.conv(images))
        return features


class DenseLayer(nn.Module):
    """A maxout dense layer."""

    kind: ClassVar[str] = "dense"

    def __init__(self, in_features: int, units: int, *, pieces: int):
        super().__init__()
        self.linear = MaxoutLinear(in_features, units, pieces=pieces)
        self.out_shape: tuple[int, ...] = (units,)
        self.pieces = pieces
        self.tied_biases = True

    def forward(self, features: Tensor) -> Tensor:
        units: Tensor = self.linear(features)
        return units


class SoftmaxLayer(nn.Module):
    """The logits; the softmax itself is in the losses."""

    kind: ClassVar[str] = "softmax"

    def __init__(self, in_features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(in_features, classes)
        self.out_shape: tuple[int, ...] = (classes,)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features.flatten(1))
        return logits


class Regressor(nn.Module):
    """Maps the guided layer's output to the hint's shape: r(v_g; W_r) of Eq. 3. Only stage 1 has one."""

    kind: ClassVar[str] = "regressor"

    def __init__(self, mapping: nn.Module, hint_shape: tuple[int, ...]):
        super().__init__()
        self.mapping = mapping
        self.hint_shape = hint_shape

    def describe(self) -> str:
        """In words, with its size."""
        weights = sum(part.weight.numel() for part in self.modules() if isinstance(part, nn.Conv2d | nn.Linear))
        match self.mapping:
            case MaxoutConv2d(kernel_size=(height, width)):
                return f"a {height}x{width} maxout convolution ({weights:,} weights)"
            case MaxoutLinear():
                return f"a fully connected maxout layer ({weights:,} weights)"
            case _:
                return "no regressor"

    def forward(self, guided: Tensor) -> Tensor:
        regressed: Tensor = self.mapping(guided)
        return regressed.view(len(guided), *self.hint_shape)


def input_dropout(images: Tensor, rate: float) -> Tensor:
    """Drops values and leaves the rest as they are: the maxout recipes do not scale inputs up."""
    return images * (torch.rand_like(images) >= rate)


def hidden_dropout(features: Tensor, rate: float) -> Tensor:
    return F.dropout(features, rate)
