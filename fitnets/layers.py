"""Layers of the paper's networks: maxout (Goodfellow et al., 2013) and ReLU convolutions, dense layers, outputs."""

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def maxout(linear: Tensor, pieces: int) -> Tensor:
    """(N, pieces * units, ...) -> (N, units, ...): the maximum of the pieces, which are stored one after the other."""
    return reduce(torch.maximum, linear.chunk(pieces, dim=1))


@dataclass(frozen=True, slots=True)
class Activation:
    """What follows a linear map: the maximum over its `pieces`, ReLU, or nothing."""

    kind: Literal["maxout", "relu", "linear"]
    pieces: int = 1

    def __call__(self, linear: Tensor) -> Tensor:
        match self.kind:
            case "maxout":
                return maxout(linear, self.pieces)
            case "relu":
                return F.relu(linear)
            case "linear":
                return linear


RELU = Activation("relu")
LINEAR = Activation("linear")


class Conv2d(nn.Conv2d):
    """A convolution and its activation. (N, C, H, W) -> (N, units, H', W').

    weight: (pieces * units, C, K, K). Tied biases: one a channel; untied: (pieces * units, H', W')."""

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        units: int,
        kernel: tuple[int, int],
        activation: Activation,
        *,
        pad: int = 0,
        stride: int = 1,
        tied_biases: bool = True,
    ):
        channels = activation.pieces * units
        super().__init__(in_shape[0], channels, kernel, stride=stride, padding=pad, bias=tied_biases)
        self.activation = activation
        height, width = ((size + 2 * pad - k) // stride + 1 for size, k in zip(in_shape[1:], kernel, strict=True))
        self.out_shape = (units, height, width)
        self.untied_bias = None if tied_biases else nn.Parameter(torch.zeros(channels, height, width))

    @property
    def tied_biases(self) -> bool:
        return self.untied_bias is None

    def forward(self, images: Tensor) -> Tensor:
        linear = super().forward(images)
        return self.activation(linear if self.untied_bias is None else linear + self.untied_bias)


class Dense(nn.Linear):
    """A linear map of the flattened input and its activation. (N, ...) -> (N, units)."""

    def __init__(self, in_features: int, units: int, activation: Activation):
        super().__init__(in_features, activation.pieces * units)
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(super().forward(features.flatten(1)))


class Layer(nn.Module):
    """A named step of a network. `kind`: what learning-rate scales and norm bounds are keyed by; `activation`: that of
    its output, which a regressor to this layer shares."""

    kind: ClassVar[str]
    out_shape: tuple[int, ...]
    activation: Activation
    tied_biases: bool = True


class ConvLayer(Layer):
    """A convolution and its pooling, which keeps the windows that reach over the edge (ceil mode)."""

    kind = "conv"

    def __init__(self, conv: Conv2d, pool: int | None, stride: int):
        super().__init__()
        self.conv = conv
        self.pool = nn.MaxPool2d(pool, stride, ceil_mode=True) if pool else nn.Identity()
        units, height, width = conv.out_shape
        if pool:
            height, width = (-(-(size - pool) // stride) + 1 for size in (height, width))
        self.out_shape = (units, height, width)
        self.activation = conv.activation
        self.tied_biases = conv.tied_biases

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.pool(self.conv(images))
        return features


class DenseLayer(Layer):
    kind = "dense"

    def __init__(self, in_features: int, units: int, activation: Activation):
        super().__init__()
        self.linear = Dense(in_features, units, activation)
        self.out_shape = (units,)
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        units: Tensor = self.linear(features)
        return units


class SoftmaxLayer(Layer):
    """The logits; the softmax itself is in the losses."""

    kind = "softmax"
    activation = LINEAR

    def __init__(self, in_features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(in_features, classes)
        self.out_shape = (classes,)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features.flatten(1))
        return logits


class SigmoidLayer(Layer):
    """One sigmoid unit a for two classes, as the logits (0, a): their softmax is (1 - sigmoid(a), sigmoid(a)) at every
    temperature, so the losses on logits are the binary cross-entropies of the paper's AFLW networks."""

    kind = "sigmoid"
    activation = LINEAR

    def __init__(self, in_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, 1)
        self.out_shape = (2,)

    def forward(self, features: Tensor) -> Tensor:
        unit = self.linear(features.flatten(1))
        return torch.cat([torch.zeros_like(unit), unit], dim=1)


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
            case Conv2d() as conv:
                return f"a {_of_conv(conv)} ({weights:,} weights)"
            case Dense(activation=activation):
                return f"a fully connected {_in_words(activation)} layer ({weights:,} weights)"
            case _:
                return "no regressor"

    def forward(self, guided: Tensor) -> Tensor:
        regressed: Tensor = self.mapping(guided)
        return regressed.view(len(guided), *self.hint_shape)


def _of_conv(conv: Conv2d) -> str:
    height, width = conv.kernel_size
    pad, stride = conv.padding[0], conv.stride[0]
    details = f" with pad {pad}" * (pad != 0) + f" of stride {stride}" * (stride != 1)
    return f"{height}x{width} {_in_words(conv.activation)} convolution{details}"


def _in_words(activation: Activation) -> str:
    return {"maxout": "maxout", "relu": "ReLU", "linear": "linear"}[activation.kind]


def input_dropout(images: Tensor, rate: float) -> Tensor:
    """Drops values and leaves the rest as they are: the maxout recipes do not scale inputs up."""
    return images * (torch.rand_like(images) >= rate)


def hidden_dropout(features: Tensor, rate: float) -> Tensor:
    return F.dropout(features, rate)
