"""Augmentation: random views of preprocessed images, each a pure function of (seed, view number, image number)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.config import Augmentation


def view(images: Tensor, rows: Tensor, number: int, augmentation: Augmentation, seed: int) -> Tensor:
    """The view `number` of images: mirrored or not, shifted by a crop from the zero-padded image.

    images: (N, C, H, W); rows: (N,) their numbers in the data set."""
    if not (augmentation.flip or augmentation.pad):
        return images
    height, width = images.shape[2:]
    device, pad = images.device, augmentation.pad
    down, right, mirrored = (_draws(rows, number, seed, purpose) for purpose in range(3))
    row = torch.arange(height, device=device).expand(len(rows), height)
    column = torch.arange(width, device=device).expand(len(rows), width)
    if augmentation.flip:
        column = torch.where((mirrored % 2 == 1)[:, None], width - 1 - column, column)
    if pad:
        images = F.pad(images, (pad, pad, pad, pad))
        row = row + (down % (2 * pad + 1))[:, None]
        column = column + (right % (2 * pad + 1))[:, None]
    image = torch.arange(len(rows), device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[image, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _draws(rows: Tensor, number: int, seed: int, purpose: int) -> Tensor:
    """A number from 0 to 2^31 - 1 for each row: two rounds of a multiplicative hash (wrapping 64-bit arithmetic)."""
    mixed = rows * _ODD + (number * 3 + purpose)
    for offset in (seed, ~seed):
        mixed = (mixed + offset) * _ODD
        mixed = mixed ^ ((mixed >> 29) & (2**35 - 1))
        mixed = mixed * _ODD
        mixed = mixed ^ ((mixed >> 32) & (2**32 - 1))
    return mixed & (2**31 - 1)


_ODD = -7046029254386353131  # 2^64 / golden ratio, as a signed number: the multiplier of splitmix64
