"""Augmentation: random versions of images, each a pure function of (seed, view number, row).

Here are the views, and flips and shifts of preprocessed images. What changes images before preprocessing, in 8 bits,
is in `random_crops`, `policies` and `mixing`.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.config import Augmentation
from fitnets.data import mixing, policies, random_crops
from fitnets.data.eight_bit import EightBitImages, Images, Pixels
from fitnets.kernels.crops import crops


@dataclass(frozen=True, slots=True)
class Views:
    """The augmented versions of the images that a stage sees. Every epoch has a view, which picks one version of
    each image from a set. With flips alone, all views share a set of two versions; without augmentation, a set of one.
    With anything else, every view has a separate set with one version of each image."""

    augmentation: Augmentation
    seed: int
    count: int | None = None
    """number of different versions of an image before they repeat; None: they never repeat"""

    @property
    def differ(self) -> bool:
        """True if every view has a set of its own."""
        return self.augmentation.differs_by_view

    def view_of_epoch(self, epoch: int) -> int:
        """The number of the view that an epoch sees."""
        return epoch % self.count if self.differ and self.count is not None else epoch

    def distinct_views(self, epochs: int) -> int:
        """The number of sets of augmented versions that this many epochs pick from."""
        if not self.differ:
            return 1
        return epochs if self.count is None else min(self.count, epochs)

    @property
    def images_per_view(self) -> int:
        """The number of versions of an image in one set."""
        return 2 if self.augmentation.flip and not self.differ else 1

    def all_versions(self, images: Images, rows: Tensor, number: int, pool: Tensor) -> list[Tensor]:
        """The set of augmented versions that the view `number` picks from, each (N, C, H, W).

        rows: (N,), row of each image in its data set.
        pool: the rows of the images that may be mixed with these."""
        if self.differ:
            return [self.shown(images, rows, number, pool)[0]]
        plain = images[rows]
        return [plain, plain.flip(3)][: self.images_per_view]

    def needed(self, rows: Tensor, number: int, pool: Tensor) -> Tensor:
        """The rows of all images that `shown` reads. Arguments as for `all_versions`."""
        if not self.augmentation.mixes:
            return rows
        return torch.cat([rows, mixing.partners(rows, number, pool, self.seed)])

    def shown(self, images: Images, rows: Tensor, number: int, pool: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """The images (N, C, H, W) as the view `number` shows them, the rows of their partners (None if the augmentation
        does not mix images), and the share (N,) of each image itself. Arguments as for `all_versions`."""
        augmentation, seed = self.augmentation, self.seed
        share = torch.ones(len(rows), device=rows.device)
        if not augmentation.in_8_bits:
            return augment(images[rows], rows, number, augmentation, seed), None, share
        assert isinstance(images, EightBitImages), "checks refuse other preprocessing"
        pixels, partners = _changed_pixels(images.pixels, rows, number, augmentation, seed), None
        if augmentation.mixes:
            partners = mixing.partners(rows, number, pool, seed)
            others = _changed_pixels(images.pixels, partners, number, augmentation, seed)
            how = mixing.recipe(rows, number, augmentation, (pixels.shape[2], pixels.shape[3]), seed)
            pixels, share = mixing.mixed(pixels, others, how), how.share.float()
        shifted = replace(augmentation, flip=False)  # they are flipped already
        return augment(images.prepared(pixels), rows, number, shifted, seed), partners, share

    def pick(self, rows: Tensor, number: int) -> Tensor:
        """(N,): for each image, the index in `all_versions` of the version that the view `number` shows."""
        is_picked = self.images_per_view == 2
        return mirrored(rows, number, self.augmentation, self.seed) if is_picked else torch.zeros_like(rows)

    def identity(self, number: int) -> dict[str, Any]:
        """JSON values that determine the set of augmented versions that the view `number` picks from."""
        if not self.differ:
            return {"mirrored": self.images_per_view == 2}
        facts = {"flip": self.augmentation.flip, "pad": self.augmentation.pad, "seed": self.seed, "view": number}
        facts |= {"alternate": True} if self.augmentation.alternate else {}
        return facts | ({"in 8 bits": asdict(self.augmentation)} if self.augmentation.in_8_bits else {})


def _changed_pixels(pixels: Pixels, rows: Tensor, number: int, augmentation: Augmentation, seed: int) -> Tensor:
    """(N, C, H, W) uint8: images as a view shows them before they are mixed and preprocessed."""
    is_mirrored = mirrored(rows, number, augmentation, seed) if augmentation.flip else torch.zeros_like(rows)
    if augmentation.crop_area is not None:
        boxes = random_crops.boxes(pixels.sizes_of(rows), rows, number, augmentation.crop_area, seed)
        images = pixels.crops(rows, boxes.float(), is_mirrored)
    else:
        plain = pixels[rows]
        images = torch.where(is_mirrored.bool()[:, None, None, None], plain.flip(3), plain)
    return policies.apply(images, rows, number, augmentation, seed)


def augment(images: Tensor, rows: Tensor, number: int, augmentation: Augmentation, seed: int) -> Tensor:
    """Augment images: mirror each at random, then crop it at random from the zero-padded image.

    images: (N, C, H, W).
    rows: (N,), row of each image in its data set.
    number: number of the view."""
    if not (augmentation.flip or augmentation.pad):
        return images
    if not augmentation.pad:
        is_mirrored = mirrored(rows, number, augmentation, seed) == 1
        return torch.where(is_mirrored[:, None, None, None], images.flip(3), images)
    height, width = images.shape[2:]
    device, pad = images.device, augmentation.pad
    down, right = (_draws(rows, number, seed, purpose) % (2 * pad + 1) for purpose in (0, 1))
    is_mirrored = mirrored(rows, number, augmentation, seed) if augmentation.flip else torch.zeros_like(rows)
    cropped = crops(images, down, right, is_mirrored, pad)
    if cropped is not None:
        return cropped
    x = torch.arange(width, device=device).expand(len(rows), width)
    x = torch.where(is_mirrored[:, None] == 1, width - 1 - x, x) + right[:, None]
    y = torch.arange(height, device=device) + down[:, None]
    images = F.pad(images, (pad, pad, pad, pad))
    image = torch.arange(len(rows), device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[image, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def mirrored(rows: Tensor, number: int, augmentation: Augmentation, seed: int) -> Tensor:
    """(N,): 1 for each image that the view `number` mirrors if flips are on, 0 for the others."""
    if augmentation.alternate:
        return (_draws(rows, 0, seed, purpose=2) + number) % 2
    return _draws(rows, number, seed, purpose=2) % 2


def _draws(rows: Tensor, number: int, seed: int, purpose: int) -> Tensor:
    """(N,): a pseudo-random number from 0 to 2^31 - 1 for each row, by two rounds of a multiplicative hash in wrapping
    64-bit arithmetic.

    purpose: 0 for vertical crops, 1 for horizontal crops, 2 for flips."""
    mixed = rows * _ODD + (number * 3 + purpose)
    for offset in (seed, ~seed):
        mixed = (mixed + offset) * _ODD
        mixed = mixed ^ ((mixed >> 29) & (2**35 - 1))
        mixed = mixed * _ODD
        mixed = mixed ^ ((mixed >> 32) & (2**32 - 1))
    return mixed & (2**31 - 1)


_ODD = -7046029254386353131
"""2^64 / golden ratio as a signed number, the multiplier of splitmix64"""
