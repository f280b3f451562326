"""Layers of the paper's networks: maxout (Goodfellow et al., 2013) and ReLU convolutions, dense and output layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fitnets.kernels import maxout as kernels


def as_float32(values: Tensor) -> Tensor:
    """Convert bf16 values to fp32, in which losses are computed; leave other types unchanged."""
    return values.float() if values.dtype == torch.bfloat16 else values


def maxout(linear: Tensor, pieces: int) -> Tensor:
    """Return the maximum of linear pieces (section 2 of Goodfellow et al., 2013).

    linear: (N, pieces * units, ...), the pieces stored one after the other. The result is (N, units, ...).

    If pieces tie, the first one gets the gradient."""
    if kernels.are_usable(linear, pieces):
        return kernels.maximum(linear)
    if pieces > 1 and linear.requires_grad and torch.is_grad_enabled():
        maximum: Tensor = _Maxout.apply(linear, pieces)  # type: ignore[no-untyped-call]
        return maximum
    return reduce(torch.maximum, _pieces(linear, pieces))


class _Maxout(torch.autograd.Function):
    """Maxout with a faster gradient than that of `torch.maximum`, which took half of a FitNet's training step in bf16.
    It stands in where the compiled loops of `models.kernels`, which are faster still, cannot be used.

    `threshold_backward` is ReLU's gradient: it passes the gradient where its second argument is positive."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, pieces: int) -> Tensor:
        ctx.shape, ctx.is_channels_last = linear.shape, _is_channels_last(linear)
        maximum, *others = _pieces(linear, pieces)
        leads = []  # difference between each piece and the largest piece before it
        for other in others:
            leads.append(other - maximum)
            maximum = torch.maximum(maximum, other)
        ctx.save_for_backward(*leads)
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        leads = ctx.saved_tensors
        layout = torch.channels_last if ctx.is_channels_last else torch.contiguous_format
        gradients = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=layout)
        first, *others = gradients.chunk(len(leads) + 1, dim=1)
        for lead, other in zip(reversed(leads), reversed(others), strict=True):
            if _are_ragged(gradients, len(leads) + 1):
                passed = torch.ops.aten.threshold_backward(gradient, lead, 0)
                gradient = gradient - passed
                other.copy_(passed)
            else:
                torch.ops.aten.threshold_backward(gradient, lead, 0, grad_input=other)
                gradient = torch.sub(gradient, other, out=first)
        if gradient is not first:
            first.copy_(gradient)
        return gradients, None


def _pieces(linear: Tensor, pieces: int) -> Sequence[Tensor]:
    """Split (N, pieces * units, ...) into the pieces, (N, units, ...) each."""
    parts = linear.chunk(pieces, dim=1)
    if pieces > 1 and _are_ragged(linear, pieces):
        return [part.contiguous(memory_format=torch.channels_last) for part in parts]
    return parts


_VECTOR_BYTES = 64
"""width of a CPU's vector registers (AVX-512)"""


def _are_ragged(linear: Tensor, pieces: int) -> bool:
    """Return whether a pixel's values of one piece end within a CPU vector, in channels-last layout.

    Arithmetic on such pieces is up to ten times slower than copying each into memory of its own first."""
    bytes_per_pixel = linear.shape[1] // pieces * linear.element_size()
    return linear.device.type == "cpu" and bytes_per_pixel % _VECTOR_BYTES != 0 and _is_channels_last(linear)


def _is_channels_last(values: Tensor) -> bool:
    return values.ndim == 4 and values.stride(1) == 1 and values.stride(3) > 1


LOGITS = "logits"
"""key of the last layer's output in collections by layer; other layers have their own names"""


@dataclass(frozen=True, slots=True)
class Activation:
    """The non-linearity after a linear map: the maximum over its `pieces`, ReLU, or none."""

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
    """A convolution with its activation: (N, C, H, W) -> (N, units, H', W').

    weight: (pieces * units, C, K, K).
    tied_biases: True for one bias per channel, False for one per channel and position, (pieces * units, H', W').
    norm: batch normalisation of each linear piece, before the activation; None without it. Its shift takes the place
        of tied biases.
    out_shape: (units, H', W')."""

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
        normalized: bool = False,
    ):
        channels = activation.pieces * units
        has_bias = tied_biases and not normalized
        super().__init__(in_shape[0], channels, kernel, stride=stride, padding=pad, bias=has_bias)
        self.norm = nn.BatchNorm2d(channels) if normalized else None
        self.activation = activation
        height, width = ((size + 2 * pad - k) // stride + 1 for size, k in zip(in_shape[1:], kernel, strict=True))
        self.out_shape = (units, height, width)
        self.untied_bias = None if tied_biases else nn.Parameter(torch.zeros(channels, height, width))

    @property
    def tied_biases(self) -> bool:
        return self.untied_bias is None

    def forward(self, images: Tensor) -> Tensor:
        linear = super().forward(images)
        if self.has_kernel and self.training and kernels.are_usable(linear, self.activation.pieces):
            assert self.norm is not None
            return kernels.normalised_maximum(linear, self.norm)
        if self.norm is not None:
            linear = self.norm(linear)
        return self.activation(linear if self.untied_bias is None else linear + self.untied_bias.to(linear.dtype))

    @property
    def has_kernel(self) -> bool:
        """Return whether one compiled loop may do the normalisation and the activation in training."""
        return self.norm is not None and self.untied_bias is None and self.activation.kind == "maxout"


class Dense(nn.Linear):
    """A linear map of the flattened input with its activation: (N, ...) -> (N, units).

    norm: batch normalisation of each linear piece, before the activation; None without it. Its shift takes the place
        of the bias."""

    def __init__(self, in_features: int, units: int, activation: Activation, *, normalized: bool = False):
        channels = activation.pieces * units
        super().__init__(in_features, channels, bias=not normalized)
        self.norm = nn.BatchNorm1d(channels) if normalized else None
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        linear = super().forward(features.flatten(1))
        return self.activation(linear if self.norm is None else self.norm(linear))


class LayerOutput(Protocol):
    """Describes a layer's output. A regressor to this layer shares its activation and its tied or untied biases.

    out_shape: shape for one image.
    activation: the layer's last operation."""

    @property
    def out_shape(self) -> tuple[int, ...]: ...

    @property
    def activation(self) -> Activation: ...

    @property
    def tied_biases(self) -> bool: ...


class Layer(nn.Module):
    """A named step of a network, which also describes its own output (`LayerOutput`).

    kind: key for the layer's learning-rate scale and norm bound, if the settings do not give the layer's name."""

    kind: ClassVar[str]
    out_shape: tuple[int, ...]
    activation: Activation
    tied_biases: bool = True


class ConvLayer(Layer):
    """A convolution with max pooling, which keeps the windows that reach over the edge (ceil mode).

    pool, stride: size and step of the pooling windows; pool=None means no pooling."""

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
    """A fully connected layer: (N, ...) -> (N, units)."""

    kind = "dense"

    def __init__(self, in_features: int, units: int, activation: Activation, *, normalized: bool = False):
        super().__init__()
        self.linear = Dense(in_features, units, activation, normalized=normalized)
        self.out_shape = (units,)
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        units: Tensor = self.linear(features)
        return units


class SoftmaxLayer(Layer):
    """Gives the logits, (N, ...) -> (N, classes); the losses apply the softmax."""

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
    """One sigmoid unit `a` for two classes, given as the logits (0, a): (N, ...) -> (N, 2).

    Their softmax is (1 - sigmoid(a), sigmoid(a)) at every temperature. So the losses on logits are the binary
    cross-entropies of the paper's AFLW networks."""

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
    """Maps the guided layer's output to the hint's shape: r(v_g; W_r) of Eq. 3. It is dropped after training.

    hint_shape: shape of the hint for one image."""

    kind: ClassVar[str] = "regressor"

    def __init__(self, mapping: nn.Module, hint_shape: tuple[int, ...]):
        super().__init__()
        self.mapping = mapping
        self.hint_shape = hint_shape

    def describe(self) -> str:
        """Describe the regressor and its number of weights in words."""
        weights = sum(part.weight.numel() for part in self.modules() if isinstance(part, nn.Conv2d | nn.Linear))
        match self.mapping:
            case Conv2d() as conv:
                return f"a {_conv_in_words(conv)} ({weights:,} weights)"
            case Dense(activation=activation):
                return f"a fully connected {_in_words(activation)} layer ({weights:,} weights)"
            case nn.Identity():
                return "no regressor"
            case _:
                return f"a linear map of each position's channels ({weights:,} weights)"

    def forward(self, guided: Tensor) -> Tensor:
        regressed: Tensor = self.mapping(guided)
        return regressed.view(len(guided), *self.hint_shape)


def _conv_in_words(conv: Conv2d) -> str:
    height, width = conv.kernel_size
    pad, stride = conv.padding[0], conv.stride[0]
    details = f" with pad {pad}" * (pad != 0) + f" of stride {stride}" * (stride != 1)
    return f"{height}x{width} {_in_words(conv.activation)} convolution{details}"


def _in_words(activation: Activation) -> str:
    return {"maxout": "maxout", "relu": "ReLU", "linear": "linear"}[activation.kind]


def input_dropout(images: Tensor, rate: float) -> Tensor:
    """Drop values without scaling up the others, as the maxout recipes do for inputs."""
    return images * (torch.rand_like(images) >= rate)


def hidden_dropout(features: Tensor, rate: float) -> Tensor:
    return F.dropout(features, rate)
