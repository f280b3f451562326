"""Features as vectors, maps and matrices of similarities, with finite gradients for every input."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.models.pointwise import Grid


def unit(vectors: Tensor, dim: int = 1) -> Tensor:
    """Scale vectors to L2 norm 1, whatever their length. A vector of zeros stays one, and its gradient is finite."""
    largest = vectors.detach().abs().amax(dim=dim, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1.0)  # so that no square is rounded to 0
    square = scaled.square().sum(dim=dim, keepdim=True)
    return scaled * torch.where(square > 0, square, 1.0).rsqrt()


def as_map(features: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return features as maps, (N, C, H, W).

    The tokens of a grid are laid out row by row, without the class tokens before them. Units become maps of 1x1.

    features: maps (N, C, H, W), tokens (N, T, D) or units (N, D).
    shape: that of one image's features."""
    if features.ndim == 4:
        return features
    grid = Grid.of(shape)
    tokens = features.reshape(len(features), -1, grid.channels)[:, grid.before :]
    return tokens.transpose(1, 2).reshape(len(features), grid.channels, grid.height, grid.width)


def pooled(features: Tensor) -> Tensor:
    """Return one vector per image, (N, C): the mean over the positions of maps or of a grid's tokens."""
    return as_map(features, tuple(features.shape[1:])).mean(dim=(2, 3))


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool two maps, (N, C, H, W) each with its own C, to the smaller height and the smaller width."""
    height, width = (min(sides) for sides in zip(first.shape[2:], second.shape[2:], strict=True))
    return _pooled_to(first, height, width), _pooled_to(second, height, width)


def _pooled_to(maps: Tensor, height: int, width: int) -> Tensor:
    return maps if maps.shape[2:] == (height, width) else F.adaptive_avg_pool2d(maps, (height, width))


def differences(vectors: Tensor) -> Tensor:
    """Return the difference of every two vectors, (N, D) -> (N, N, D)."""
    return vectors.unsqueeze(0) - vectors.unsqueeze(1)


def centred(values: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean of each row. Returns the differences, (rows, values), and whether the row's values are all
    equal, up to rounding, (rows,). Such a row is set to zeros and has no gradient."""
    difference = values - values.mean(dim=1, keepdim=True)
    rounding = 8 * torch.finfo(values.dtype).eps * values.abs().amax(dim=1)
    is_constant = difference.abs().amax(dim=1) <= rounding
    return difference.masked_fill(is_constant.unsqueeze(1), 0.0), is_constant


def norms(vectors: Tensor) -> Tensor:
    """Return the L2 norms over the last axis. The gradient at a vector of zeros is 0."""
    square = vectors.square().sum(dim=-1)
    is_zero = square == 0
    return torch.where(is_zero, 1.0, square).sqrt().masked_fill(is_zero, 0.0)
