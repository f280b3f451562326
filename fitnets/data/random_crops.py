"""Boxes of random resized crops (Szegedy et al., 2015), by the rule of torchvision's `RandomResizedCrop`."""

import math

import torch
from torch import Tensor

from fitnets.data.random_numbers import uniform

_TRIES = 10
_NARROWEST, _WIDEST = 3 / 4, 4 / 3
"""width over height of a crop"""


def boxes(sizes: Tensor, rows: Tensor, view: int, smallest_area: float, seed: int) -> Tensor:
    """(N, 4): top, left, bottom and right of a random crop of each image, in whole pixels.

    The first of ten random boxes that fits into the image is taken; if none does, the largest box of an allowed shape
    at the centre.

    sizes: (N, 2), height and width of each image.
    rows: (N,), row of each image in its data set.
    smallest_area: the smallest share of the image's area."""
    height, width = (side[:, None] for side in sizes.double().T)
    drawn = uniform(rows, view, seed, "random resized crop", 4 * _TRIES).view(-1, _TRIES, 4)
    area = height * width * (smallest_area + (1 - smallest_area) * drawn[..., 0])
    low, high = math.log(_NARROWEST), math.log(_WIDEST)
    shape = (low + (high - low) * drawn[..., 1]).exp()
    wide, tall = (area * shape).sqrt().round(), (area / shape).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    top, left = ((height - tall + 1) * drawn[..., 2]).floor(), ((width - wide + 1) * drawn[..., 3]).floor()
    candidates = torch.stack([top, left, top + tall, left + wide], dim=2)
    first = fits.int().argmax(dim=1)  # the first True
    chosen = candidates[torch.arange(len(rows), device=rows.device), first]
    return torch.where(fits.any(dim=1, keepdim=True), chosen, _central(sizes))


def _central(sizes: Tensor) -> Tensor:
    """(N, 4): the largest box of an allowed shape at the centre of each image."""
    height, width = sizes.double().T
    wide = torch.minimum(width, (height * _WIDEST).round())
    tall = torch.minimum(height, (width / _NARROWEST).round())
    top, left = ((height - tall) / 2).floor(), ((width - wide) / 2).floor()
    return torch.stack([top, left, top + tall, left + wide], dim=1)
