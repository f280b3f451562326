"""Augmentation: every view is a random flip and crop that depends on seed, view number and row alone."""

import pytest
import torch
import torch.nn.functional as F

from fitnets.config import Augmentation
from fitnets.data.augmentation import Views, augment

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


class TestAlternatingFlips:
    ALTERNATING = Augmentation(flip=True, alternate=True)

    def is_mirrored(self, number, seed=0, augmentation=ALTERNATING):
        original = images()
        augmented = augment(original, ROWS, number, augmentation, seed)
        flipped = (augmented == original.flip(3)).flatten(1).all(1)
        assert ((augmented == original).flatten(1).all(1) ^ flipped).all()
        return flipped

    def test_an_image_is_mirrored_in_every_second_epoch(self):
        first = self.is_mirrored(0)
        assert 0.4 < first.float().mean() < 0.6
        assert torch.equal(self.is_mirrored(1), ~first)
        assert torch.equal(self.is_mirrored(2), first)
        assert not torch.equal(self.is_mirrored(0, seed=1), first)

    def test_without_it_each_epoch_draws_anew(self):
        first, second = (self.is_mirrored(number, augmentation=Augmentation(flip=True)) for number in (0, 1))
        assert 0.3 < (first == second).float().mean() < 0.7

    def test_the_version_that_a_cached_table_is_read_for_is_the_one_that_is_shown(self):
        views = Views(self.ALTERNATING, seed=0)
        for number in range(3):
            assert torch.equal(views.pick(ROWS, number) == 1, self.is_mirrored(number))

    def test_crops_stay_where_they_are(self):
        plain, alternating = (Augmentation(flip=True, pad=2, alternate=alternate) for alternate in (False, True))
        one_view = images()
        crops = [augment(one_view, ROWS, 1, augmentation, 0) for augmentation in (plain, alternating)]
        same = (crops[0] == crops[1]).flatten(1).all(1) | (crops[0] == crops[1].flip(3)).flatten(1).any(1)
        assert same.float().mean() > 0.4
        identities = [Views(augmentation, seed=0).identity(1) for augmentation in (plain, alternating)]
        assert identities[0] != identities[1]
