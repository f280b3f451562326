"""A regressor between maps and tokens of any sizes, which maps each position by itself."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fitnets.models.layers import Activation, Conv2d, Dense

_MOST_CLASS_TOKENS = 5
"""largest number of tokens before the grid: a class token, and a distillation token or four registers beside it"""


@dataclass(frozen=True, slots=True)
class Grid:
    """The arrangement of an output's positions in the image.

    before: number of tokens before those of the grid, such as class tokens."""

    channels: int
    height: int
    width: int
    before: int = 0

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Grid":
        """Return the grid of a map (C, H, W), tokens (T, D) or units (D,).

        Tokens form a square, behind up to `_MOST_CLASS_TOKENS` class tokens. If no square fits, they form a line."""
        if len(shape) == 3:
            return cls(*shape)
        if len(shape) != 2:
            return cls(math.prod(shape), 1, 1)
        tokens, channels = shape
        for before in range(min(_MOST_CLASS_TOKENS, tokens - 1) + 1):
            side = math.isqrt(tokens - before)
            if side * side == tokens - before:
                return cls(channels, side, side, before)
        return cls(channels, 1, tokens)


class Pointwise(nn.Module):
    """A linear map of each position's channels with an activation, after resizing the guided grid to the hint's.

    Input and output may each be maps (N, C, H, W), tokens (N, T, D) or units (N, D). The hint's class tokens are mapped
    from the first class token, or from the mean over all positions if the guided output has none."""

    def __init__(self, guided_shape: tuple[int, ...], hint_shape: tuple[int, ...], activation: Activation):
        super().__init__()
        self.guided, self.hint = Grid.of(guided_shape), Grid.of(hint_shape)
        self.hint_is_map = len(hint_shape) == 3
        resized = (self.guided.channels, self.hint.height, self.hint.width)
        self.positions = Conv2d(resized, self.hint.channels, (1, 1), activation)
        self.before = (
            Dense(self.guided.channels, self.hint.before * self.hint.channels, activation) if self.hint.before else None
        )

    def forward(self, guided: Tensor) -> Tensor:
        grid, summary = self._as_grid(guided)
        regressed: Tensor = self.positions(_resized(grid, (self.hint.height, self.hint.width)))
        if self.hint_is_map:
            return regressed
        tokens = regressed.flatten(2).transpose(1, 2)
        if self.before is None:
            return tokens
        before = self.before(summary).view(len(guided), self.hint.before, self.hint.channels)
        return torch.cat([before, tokens], dim=1)

    def _as_grid(self, guided: Tensor) -> tuple[Tensor, Tensor]:
        """Return the grid, (N, C, H, W), and the first class token or else the mean over all positions, (N, C)."""
        shape = self.guided
        if guided.ndim == 4:
            return guided, guided.mean(dim=(2, 3))
        tokens = guided.view(len(guided), -1, shape.channels)
        grid = tokens[:, shape.before :].transpose(1, 2).reshape(-1, shape.channels, shape.height, shape.width)
        return grid, tokens[:, 0] if shape.before else tokens.mean(dim=1)


def _resized(grid: Tensor, size: tuple[int, int]) -> Tensor:
    if grid.shape[2:] == size:
        return grid
    if size[0] <= grid.shape[2] and size[1] <= grid.shape[3]:
        return F.adaptive_avg_pool2d(grid, size)
    return F.interpolate(grid, size, mode="bilinear")
