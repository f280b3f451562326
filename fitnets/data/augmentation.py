"""Augmentation: random views of preprocessed images, each a pure function of (seed, view number, image number)."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.config import Augmentation


@dataclass(frozen=True, slots=True)
class Views:
    """How a stage sees its images: in another view in every epoch, drawn with a seed.

    count: views with different crops, after which they come again; None: never. Mirrored or not, an image has but two
    pictures, and without augmentation one."""

    augmentation: Augmentation
    seed: int
    count: int | None = None

    @property
    def crops(self) -> bool:
        return self.augmentation.pad > 0

    def view_of_epoch(self, epoch: int) -> int:
        """Of the view that an epoch sees."""
        return epoch % self.count if self.crops and self.count is not None else epoch

    def distinct_views(self, epochs: int) -> int:
        """How many sets of pictures so many epochs choose from."""
        if not self.crops:
            return 1
        return epochs if self.count is None else min(self.count, epochs)

    @property
    def images_per_view(self) -> int:
        """How many pictures of an image are in a set of them."""
        return 2 if self.augmentation.flip and not self.crops else 1

    def all_versions(self, images: Tensor, rows: Tensor, number: int) -> list[Tensor]:
        """The set of pictures that the view `number` chooses from: (N, C, H, W) each. rows: (N,)."""
        if self.crops:
            return [view(images, rows, number, self.augmentation, self.seed)]
        return [images, images.flip(3)][: self.images_per_view]

    def pick(self, rows: Tensor, number: int) -> Tensor:
        """(N,): which of an image's pictures the view `number` is."""
        return mirrored(rows, number, self.seed) if self.images_per_view == 2 else torch.zeros_like(rows)

    def identity(self, number: int) -> dict[str, Any]:
        """What determines the set of pictures that the view `number` chooses from, in JSON types."""
        if not self.crops:
            return {"mirrored": self.images_per_view == 2}
        return {"flip": self.augmentation.flip, "pad": self.augmentation.pad, "seed": self.seed, "view": number}


def view(images: Tensor, rows: Tensor, number: int, augmentation: Augmentation, seed: int) -> Tensor:
    """The view `number` of images: mirrored or not, shifted by a crop from the zero-padded image.

    images: (N, C, H, W); rows: (N,) their numbers in the data set."""
    if not (augmentation.flip or augmentation.pad):
        return images
    if not augmentation.pad:
        return torch.where(mirrored(rows, number, seed)[:, None, None, None] == 1, images.flip(3), images)
    height, width = images.shape[2:]
    device, pad = images.device, augmentation.pad
    row = torch.arange(height, device=device).expand(len(rows), height)
    column = torch.arange(width, device=device).expand(len(rows), width)
    if augmentation.flip:
        column = torch.where(mirrored(rows, number, seed)[:, None] == 1, width - 1 - column, column)
    row = row + (_draws(rows, number, seed, purpose=0) % (2 * pad + 1))[:, None]
    column = column + (_draws(rows, number, seed, purpose=1) % (2 * pad + 1))[:, None]
    images = F.pad(images, (pad, pad, pad, pad))
    image = torch.arange(len(rows), device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[image, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)


def mirrored(rows: Tensor, number: int, seed: int) -> Tensor:
    """(N,): 1 where an augmentation with flips mirrors the image in this view, else 0."""
    return _draws(rows, number, seed, purpose=2) % 2


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
