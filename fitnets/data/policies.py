"""Random operations on 8-bit images: RandAugment (Cubuk et al., 2020), TrivialAugment (Mueller and Hutter, 2021), and
colour jitter.

Magnitudes are those of torchvision: 31 steps for each operation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fitnets.config import Augmentation
from fitnets.data import operations
from fitnets.data.operations import Operation
from fitnets.data.random_numbers import integers, uniform

_STEPS = 31
"""number of magnitudes; the first changes nothing"""


@dataclass(frozen=True, slots=True)
class _Ranged:
    """An operation of a policy.

    strength: its strength for a share from 0 (no change) to 1 of its range; height and width of the images may matter
    is_signed: whether the sign of the share is drawn too"""

    operation: Operation
    strength: Callable[[Tensor, int, int], Tensor]
    is_signed: bool


def _by(most: float) -> Callable[[Tensor, int, int], Tensor]:
    return lambda share, _height, _width: most * share


def _factor(most: float) -> Callable[[Tensor, int, int], Tensor]:
    return lambda share, _height, _width: 1 + most * share


def _bits(fewest: int) -> Callable[[Tensor, int, int], Tensor]:
    return lambda share, _height, _width: 8 - ((8 - fewest) * share).round()


def _threshold(share: Tensor, _height: int, _width: int) -> Tensor:
    return 256 - (256 * share).round()  # 256 inverts nothing


def _unchanged(images: Tensor, _strength: Tensor) -> Tensor:
    return images


_ENHANCED = (operations.brightness, operations.saturation, operations.contrast, operations.sharpness)


def _policy(shear: float, degrees: float, enhanced: float, fewest_bits: int) -> list[_Ranged]:
    """The operations that both policies share, without translations."""
    return [
        _Ranged(_unchanged, _by(0), is_signed=False),
        _Ranged(operations.shear_x, _by(shear), is_signed=True),
        _Ranged(operations.shear_y, _by(shear), is_signed=True),
        _Ranged(operations.rotate, _by(degrees), is_signed=True),
        *(_Ranged(operation, _factor(enhanced), is_signed=True) for operation in _ENHANCED),
        _Ranged(operations.posterize, _bits(fewest_bits), is_signed=False),
        _Ranged(operations.solarize, _threshold, is_signed=False),
        _Ranged(operations.autocontrast, _by(0), is_signed=False),
        _Ranged(operations.equalize, _by(0), is_signed=False),
    ]


_POLICIES = {
    "rand": [
        *_policy(shear=0.3, degrees=30, enhanced=0.9, fewest_bits=4),
        _Ranged(operations.translate_x, lambda share, _, width: 150 / 331 * width * share, is_signed=True),
        _Ranged(operations.translate_y, lambda share, height, _: 150 / 331 * height * share, is_signed=True),
    ],
    "trivial": [
        *_policy(shear=0.99, degrees=135, enhanced=0.99, fewest_bits=2),
        _Ranged(operations.translate_x, _by(32), is_signed=True),
        _Ranged(operations.translate_y, _by(32), is_signed=True),
    ],
}


def apply(pixels: Tensor, rows: Tensor, view: int, augmentation: Augmentation, seed: int) -> Tensor:
    """Apply the random operations of an augmentation to images.

    pixels: (N, C, H, W) uint8.
    rows: (N,), row of each image in its data set.
    view: number of the view."""
    if augmentation.policy != "none":
        pixels = _by_policy(pixels, rows, view, augmentation, seed)
    for name in ("brightness", "contrast", "saturation", "hue"):
        most: float = getattr(augmentation, name)
        if most:
            shift = most * (2 * uniform(rows, view, seed, name, 1)[:, 0] - 1)
            operation: Operation = getattr(operations, name)
            pixels = operation(pixels, shift if name == "hue" else 1 + shift)
    return pixels


def _by_policy(pixels: Tensor, rows: Tensor, view: int, augmentation: Augmentation, seed: int) -> Tensor:
    policy = _POLICIES[augmentation.policy]
    is_rand = augmentation.policy == "rand"
    for number in range(augmentation.operations if is_rand else 1):
        purpose = f"{augmentation.policy} {number}"
        chosen = integers(rows, view, seed, f"{purpose} operation", len(policy))
        step = integers(rows, view, seed, f"{purpose} magnitude", _STEPS)
        if is_rand:
            step = torch.full_like(step, augmentation.magnitude)
        is_negative = integers(rows, view, seed, f"{purpose} sign", 2) == 1
        share = step.double() / (_STEPS - 1)
        changed = torch.empty_like(pixels)
        for index, one in enumerate(policy):
            some = (chosen == index).nonzero()[:, 0]
            if len(some) == 0:
                continue
            signed = torch.where(is_negative[some], -share[some], share[some]) if one.is_signed else share[some]
            changed[some] = one.operation(pixels[some], one.strength(signed, *pixels.shape[2:]))
        pixels = changed
    return pixels
