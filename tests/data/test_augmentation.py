"""Augmentation: every view is a random flip and crop that depends on seed, view number and row alone."""

import pytest
import torch
import torch.nn.functional as F

from fitnets.config import Augmentation
from fitnets.data.augmentation import augment

BOTH = Augmentation(flip=True, pad=4)
ROWS = torch.arange(100, 612)


def images() -> torch.Tensor:
    return torch.rand(len(ROWS), 3, 9, 7, generator=torch.Generator().manual_seed(0)) + 1


def test_without_augmentation_images_stay_as_they_are():
    original = images()
    assert augment(original, ROWS, 3, Augmentation(), 0) is original


@pytest.mark.parametrize("augmentation", [Augmentation(flip=True), Augmentation(pad=2), BOTH])
def test_every_view_is_a_crop_of_the_zero_padded_image_mirrored_or_not(augmentation):
    original, pad = images(), augmentation.pad
    augmented = augment(original, ROWS, 0, augmentation, 0)
    assert augmented.shape == original.shape
    padded = F.pad(original, (pad, pad, pad, pad))
    variants = set()
    for image, crop_shown in zip(padded, augmented, strict=True):
        candidates = {
            (down, right, mirrored): crop.flip(2) if mirrored else crop
            for down in range(2 * pad + 1)
            for right in range(2 * pad + 1)
            for crop in [image[:, down : down + 9, right : right + 7]]
            for mirrored in ([False, True] if augmentation.flip else [False])
        }
        matches = [key for key, crop in candidates.items() if torch.equal(crop, crop_shown)]
        assert len(matches) == 1
        variants.add(matches[0])
    assert len(variants) >= 0.9 * len(candidates)


def test_flips_and_offsets_are_equally_frequent():
    rows = torch.arange(20_000)
    original = torch.arange(5.0).expand(len(rows), 1, 5, 5)
    augmented = augment(original, rows, 1, Augmentation(flip=True), 7)
    assert (augmented[:, 0, 0, 0] == 4).float().mean().item() == pytest.approx(0.5, abs=0.015)
    centre = torch.zeros(len(rows), 1, 5, 5)
    centre[:, :, 2, 2] = 1
    positions = augment(centre, rows, 1, Augmentation(pad=2), 7).flatten(1).argmax(1)
    assert torch.bincount(positions, minlength=25).min().item() > 0.8 * len(rows) / 25


def test_a_view_is_a_function_of_seed_number_and_row_whatever_the_batch():
    original = images()
    first = augment(original, ROWS, 3, BOTH, 5)
    order = torch.randperm(len(ROWS), generator=torch.Generator().manual_seed(1))[:64]
    assert torch.equal(augment(original[order], ROWS[order], 3, BOTH, 5), first[order])
    for other in (
        augment(original, ROWS, 4, BOTH, 5),
        augment(original, ROWS, 3, BOTH, 6),
        augment(original, ROWS + 1, 3, BOTH, 5),
    ):
        same = (other == first).flatten(1).all(1).float().mean().item()
        assert same < 0.05
