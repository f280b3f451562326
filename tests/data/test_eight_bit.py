"""Images that stay in 8 bits give the same floats as images that were preprocessed beforehand."""

import numpy as np
import pytest
import torch

from fitnets.config import Scale, Standardize
from fitnets.data import preprocessing
from fitnets.data.eight_bit import EightBitImages, Pixels, StoredRows
from fitnets.data.resizing import CentreView
from support.datasets import CPU, fitted

SHAPES = [(3, 5, 7), (1, 4, 4), (3, 32, 32)]


def arrays(shape, *counts) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (count, *shape), dtype=np.uint8) for count in counts]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("option", [Scale(), Standardize()])
@pytest.mark.parametrize("pixel_max", [16, 255])
@pytest.mark.parametrize("shape", SHAPES)
def test_batches_have_the_bits_of_images_that_were_preprocessed_beforehand(shape, pixel_max, option):
    first, second = arrays(shape, 20, 30)
    parts = [StoredRows(first), StoredRows(second, np.asarray([29, 3, 3, 0]))]
    pixels = torch.from_numpy(np.concatenate([first, second[[29, 3, 3, 0]]]))
    scaled, values = pixels.float() / pixel_max, fitted(option, pixels, pixel_max)
    table = preprocessing.table(option, values, pixel_max, shape[0])
    images = EightBitImages(Pixels(parts, CentreView(*shape[1:], 1.0, "bicubic"), CPU), table)
    expected = preprocessing.apply(option, values, scaled)
    assert images.shape == expected.shape
    for rows in (torch.arange(24), torch.tensor([23, 0, 19, 20, 20]), torch.arange(0)):
        batch = images[rows]
        assert torch.equal(batch, expected[rows])
        assert batch.is_contiguous()


def of(array: np.ndarray) -> EightBitImages:
    pixels = Pixels([StoredRows(array)], CentreView(*array.shape[2:], 1.0, "bicubic"), CPU)
    return EightBitImages(pixels, torch.arange(256.0).repeat(3, 1))


def test_images_are_not_copied_on_the_cpu():
    (array,) = arrays((3, 4, 4), 10)
    images = of(array)
    array[7] = 200
    assert images[torch.tensor([7])].unique().tolist() == [200]


def test_a_batch_may_be_changed_without_changing_the_images():
    (array,) = arrays((3, 4, 4), 10)
    before = array.copy()
    of(array)[torch.arange(10)].zero_()
    np.testing.assert_array_equal(array, before)
