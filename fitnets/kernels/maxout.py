"""Maxout of two pieces, and batch normalisation with it, as functions that PyTorch can differentiate."""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fitnets.kernels import library

_MACROS = {torch.float32: (), torch.bfloat16: ("BF16",)}


def are_usable(linear: Tensor, pieces: int) -> bool:
    """Return whether the compiled loops take these linear pieces: two of them, in a channels-last map on the CPU that a
    gradient will be needed of."""
    return (
        pieces == 2
        and type(linear) is Tensor
        and linear.device.type == "cpu"
        and linear.ndim == 4
        and linear.requires_grad
        and torch.is_grad_enabled()
        and linear.numel() > 0
        and linear.is_contiguous(memory_format=torch.channels_last)
        and _loops(linear) is not None
    )


def are_available() -> bool:
    """Return whether this process has the compiled loops, so that normalised maxout layers train with them."""
    return library.load("maxout") is not None


def _loops(values: Tensor) -> ctypes.CDLL | None:
    return library.load("maxout", *_MACROS[values.dtype]) if values.dtype in _MACROS else None


def maximum(linear: Tensor) -> Tensor:
    """The larger of two pieces: (N, 2 * units, H, W) -> (N, units, H, W). It has the same bits as PyTorch's own."""
    result: Tensor = _Maximum.apply(linear)  # type: ignore[no-untyped-call]
    return result


def normalised_maximum(linear: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch normalisation in training mode, then the larger of two pieces: (N, 2 * units, H, W) -> (N, units, H, W).

    The running statistics of `norm` are updated as PyTorch does it. Values are rounded once, after the maximum, so the
    last bits differ from those of PyTorch's operations."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    result: Tensor = _NormalisedMaximum.apply(linear, norm.weight, norm.bias, norm)  # type: ignore[no-untyped-call]
    return result


class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, linear: Tensor) -> Tensor:
        ctx.save_for_backward(linear)
        out = _like_one_piece(linear)
        _call("maximum", linear, *_sizes(linear), out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (linear,) = ctx.saved_tensors
        out = torch.empty_like(linear)
        _call("maximum_gradient", linear, _channels_last(gradient), *_sizes(linear), out)
        return out


class _NormalisedMaximum(torch.autograd.Function):
    """With mean m, variance v, scale g and shift b of a channel, x = (z - m) / sqrt(v + eps) is normalised, and the
    output is the maximum of g x + b over the pieces. For the gradient d of g x + b, with means over the rows,
    dz = g / sqrt(v + eps) (d - mean(d) - x mean(d x)) (Ioffe and Szegedy, 2015)."""

    @staticmethod
    def forward(ctx: Any, linear: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        mean, variance = _statistics(linear, norm)
        inverse = torch.rsqrt(variance + norm.eps).float()
        scale = weight * inverse
        shift = bias - mean * scale
        out = _like_one_piece(linear)
        _call("normalised", linear, scale, shift, *_sizes(linear), out)
        ctx.save_for_backward(linear, scale, shift, mean, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        linear, scale, shift, mean, inverse = ctx.saved_tensors
        gradient, (rows, units, threads) = _channels_last(gradient), _sizes(linear)
        sums = torch.empty(2, 2 * units, dtype=torch.float64)
        _call("gradient_sums", linear, gradient, scale, shift, mean, rows, units, threads, sums)
        of_bias, of_weight = sums[0].float(), sums[1].float() * inverse
        slope = -scale * inverse * of_weight / rows
        offset = -scale * of_bias / rows - slope * mean
        out = torch.empty_like(linear)
        _call("gradient", linear, gradient, scale, shift, slope, offset, rows, units, threads, out)
        return out, of_weight, of_bias, None


def _statistics(linear: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The mean of each channel in fp32 and its variance in fp64. Updates the running statistics."""
    rows, units, threads = _sizes(linear)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.momentum is not None
    centre = norm.running_mean.clone()  # the sums of squares lose nothing if it is near the mean
    sums = torch.empty(2, 2 * units, dtype=torch.float64)
    _call("moments", linear, centre, rows, units, threads, sums)
    difference, square = sums / rows
    mean, variance = (centre + difference).float(), (square - difference.square()).clamp(min=0)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_((variance * (rows / max(1, rows - 1))).float(), norm.momentum)
    return mean, variance


def _sizes(linear: Tensor) -> tuple[int, int, int]:
    """(rows, units, threads)."""
    count, channels, height, width = linear.shape
    return count * height * width, channels // 2, torch.get_num_threads()


def _like_one_piece(linear: Tensor) -> Tensor:
    count, channels, height, width = linear.shape
    shape = (count, channels // 2, height, width)
    return torch.empty(shape, dtype=linear.dtype, memory_format=torch.channels_last)


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def _call(name: str, values: Tensor, *arguments: Tensor | int) -> None:
    """Call a compiled loop for the type of `values`, which is its first argument. Raises MemoryError if it fails."""
    loop = getattr(_loops(values), name)
    loop.restype = ctypes.c_int if name in ("moments", "gradient_sums") else None
    library.call(loop, values, *arguments)
