"""Views of photos are pure functions of seed, view and row, in any batch, order and number of threads."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fitnets.config import Augmentation
from fitnets.data import random_crops
from fitnets.data.augmentation import Views
from fitnets.data.eight_bit import EightBitImages, Pixels, StoredRows
from fitnets.data.random_numbers import uniform
from fitnets.data.resizing import CentreView
from fitnets.kernels import library
from support.datasets import CPU
from support.photos import AUGMENTATIONS, POOL, photos


def shown(views: Views, rows: torch.Tensor, view: int, images: EightBitImages | None = None) -> torch.Tensor:
    return views.shown(photos() if images is None else images, rows, view, POOL)[0]


@pytest.fixture(params=AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
def views(request) -> Views:
    return Views(Augmentation(**request.param), seed=11)


def test_an_image_is_the_same_in_any_batch_and_order(views):
    images = photos()
    together = shown(views, POOL, 3, images)
    order = torch.randperm(30)
    assert torch.equal(shown(views, POOL[order], 3, images), together[order])
    for row in (0, 17, 29):
        assert torch.equal(shown(views, torch.tensor([row]), 3, images)[0], together[row])
    for some in torch.split(POOL, 7):
        assert torch.equal(shown(views, some, 3, images), together[some])


def test_views_differ_and_repeat(views):
    images = photos()
    seen = [shown(views, torch.tensor([5]), view, images) for view in range(10)]
    assert sum(torch.equal(seen[0], other) for other in seen) <= 2
    assert len({image.numpy().tobytes() for image in seen}) >= 8
    assert torch.equal(shown(views, torch.tensor([5]), 4), seen[4])
    assert not torch.equal(shown(replace(views, seed=12), POOL, 0, images), shown(views, POOL, 0, images))


def test_neither_threads_nor_kernels_nor_generators_matter(views):
    expected, threads = shown(views, POOL, 2), torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        torch.manual_seed(count)
        np.random.seed(count)  # noqa: NPY002
        before = torch.get_rng_state()
        assert torch.equal(shown(views, POOL, 2), expected)
        assert torch.equal(torch.get_rng_state(), before)
    torch.set_num_threads(threads)
    library.switch(on=False)
    try:
        assert torch.equal(shown(views, POOL, 2), expected)
    finally:
        library.switch(on=True)


def test_another_process_sees_the_same_pixels():
    program = """
import hashlib, sys
sys.path.insert(0, "tests")
from fitnets.config import Augmentation
from fitnets.data.augmentation import Views
from support.photos import AUGMENTATIONS, POOL, photos
seen, *_ = Views(Augmentation(**AUGMENTATIONS["all"]), 11).shown(photos(), POOL, 3, POOL)
print(hashlib.sha256(seen.numpy().tobytes()).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    own = shown(Views(Augmentation(**AUGMENTATIONS["all"]), 11), POOL, 3)
    assert done.stdout.strip() == hashlib.sha256(own.numpy().tobytes()).hexdigest()


def test_one_operation_does_not_shift_the_draws_of_another():
    """The same crops and flips with and without colour jitter: grey images do not show it."""
    images = photos(uniform_size=True)
    plain = Views(Augmentation(crop_area=0.2, flip=True), 3)
    more = Views(Augmentation(crop_area=0.2, flip=True, hue=0.5), 3)
    grey = StoredRows(np.repeat(images.pixels[POOL].numpy()[:, :1], 3, axis=1))
    images = EightBitImages(Pixels([grey], CentreView(20, 20, 1.0, "bilinear"), CPU), images._table)
    assert torch.equal(shown(plain, POOL, 1, images), shown(more, POOL, 1, images))


def test_mixing_changes_labels_as_it_changes_pixels():
    images, views = photos(), Views(Augmentation(mixup=0.5), 3)
    mixed, partners, share = views.shown(images, POOL, 1, POOL)
    assert partners is not None
    own, others = images[POOL], images[partners]
    expected = share.view(-1, 1, 1, 1) * own + (1 - share.view(-1, 1, 1, 1)) * others
    torch.testing.assert_close(mixed, expected, atol=0.51 / 255, rtol=0)


def test_flips_alone_stay_two_versions_and_flips_in_8_bits_mirror():
    assert Views(Augmentation(flip=True), 0).images_per_view == 2
    images = photos(uniform_size=True)
    views = Views(Augmentation(flip=True, hue=1e-9), 3)
    flipped = shown(views, POOL, 0, images)
    mirrored = [torch.equal(one, plain.flip(2)) for one, plain in zip(flipped, images[POOL], strict=True)]
    same = [torch.equal(one, plain) for one, plain in zip(flipped, images[POOL], strict=True)]
    assert 5 < sum(mirrored) < 25
    assert [not one for one in mirrored] == same


class TestRandomCrops:
    def boxes(self, height: int, width: int, count: int = 500) -> torch.Tensor:
        return random_crops.boxes(torch.tensor([[height, width]]).expand(count, 2), torch.arange(count), 0, 0.08, 1)

    @pytest.mark.parametrize(
        ("size", "box"), [((10, 1000), (0, 493, 10, 506)), ((1000, 1), (499, 0, 500, 1)), ((1, 1), (0, 0, 1, 1))]
    )
    def test_elongated_images_always_fall_back_to_their_centre(self, size, box):
        assert self.boxes(*size, count=20).unique(dim=0).tolist() == [list(box)]

    def test_areas_and_shapes_lie_in_their_ranges(self):
        top, left, bottom, right = self.boxes(300, 400).T
        tall, wide = bottom - top, right - left
        area, shape = tall * wide / 120_000, wide / tall
        assert ((top >= 0) & (left >= 0) & (bottom <= 300) & (right <= 400)).all()
        assert area.min() > 0.075
        assert area.max() <= 1
        assert 0.4 < area.mean() < 0.6
        assert shape.min() > 0.73
        assert shape.max() < 1.36


class TestRandomNumbers:
    def test_they_are_uniform_and_independent(self):
        drawn = uniform(torch.arange(20_000), 0, 0, "test", 3)
        assert drawn.min() >= 0
        assert drawn.max() < 1
        torch.testing.assert_close(drawn.mean(0), torch.full((3,), 0.5).double(), atol=0.01, rtol=0)
        torch.testing.assert_close(torch.corrcoef(drawn.T), torch.eye(3).double(), atol=0.03, rtol=0)
        rows_beside = torch.stack([drawn[:-1, 0], drawn[1:, 0]])
        assert torch.corrcoef(rows_beside)[0, 1].abs() < 0.03

    def test_every_part_of_the_key_matters(self):
        rows = torch.arange(50)
        first = uniform(rows, 0, 0, "crop", 2)
        for other in (
            uniform(rows, 1, 0, "crop", 2),
            uniform(rows, 0, 1, "crop", 2),
            uniform(rows, 0, 0, "flip", 2),
            uniform(rows + 50, 0, 0, "crop", 2),
        ):
            assert not (first == other).any()
        assert torch.equal(uniform(rows, 0, 0, "crop", 5)[:, :2], first)
