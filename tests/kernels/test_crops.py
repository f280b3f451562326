"""Compiled crops have the bits of PyTorch's indexing."""

import pytest
import torch

from fitnets.config import Augmentation
from fitnets.data.augmentation import augment
from fitnets.kernels import library
from fitnets.kernels.crops import crops

pytestmark = pytest.mark.skipif(library._compiler() is None, reason="needs a C compiler: cc, gcc or clang")
ROWS = torch.arange(40, 168)


@pytest.fixture(autouse=True)
def switched_on():
    yield
    library.switch(on=True)


@pytest.mark.parametrize("pad", [1, 2, 4, 9])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 7), (4, 5, 12)])
def test_crops_are_those_of_indexing(shape, flip, pad):
    images = torch.randn(len(ROWS), *shape)
    augmentation = Augmentation(flip=flip, pad=pad)
    compiled = augment(images, ROWS, 3, augmentation, 5)
    library.switch(on=False)
    own = augment(images, ROWS, 3, augmentation, 5)
    assert torch.equal(compiled, own)
    assert compiled.stride() == own.stride()


@pytest.mark.parametrize(
    "images",
    [
        torch.randn(2, 3, 4, 4).double(),
        torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        torch.randn(2, 3, 4, 4, requires_grad=True),
    ],
    ids=["fp64", "channels last", "with a gradient"],
)
def test_other_images_are_left_to_pytorch(images):
    zeros = torch.zeros(2, dtype=torch.int64)
    assert crops(images, zeros, zeros, zeros, 1) is None
    assert augment(images, torch.arange(2), 0, Augmentation(pad=1), 0).shape == images.shape
