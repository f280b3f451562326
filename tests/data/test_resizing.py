"""Resized crops: antialiased, with Pillow's pixels, and in the places that torchvision and timm give them."""

import numpy as np
import pytest
import torch
from PIL import Image

from fitnets.data import resizing
from fitnets.data.eight_bit import Pixels, StoredRows
from fitnets.data.resizing import CentreView
from support.datasets import CPU

FILTERS = ["bilinear", "bicubic", "lanczos"]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def stored(*images: np.ndarray) -> StoredRows:
    sizes = np.asarray([image.shape[1:] for image in images], np.int32)
    return StoredRows(np.concatenate([image.reshape(-1) for image in images]), None, sizes, len(images[0]))


def crop(image: np.ndarray, box, size, interpolation="bilinear", *, mirrored=0) -> np.ndarray:
    pixels = Pixels([stored(image)], CentreView(*size, 1.0, interpolation), CPU)
    return pixels.crops(torch.tensor([0]), torch.tensor([box]).float(), torch.tensor([mirrored]))[0].numpy()


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("interpolation", "expected"),
    [
        ("bilinear", [128, 113, 142, 113, 128]),
        ("bicubic", [116, 128, 129, 128, 116]),
        ("lanczos", [113, 131, 126, 131, 113]),
    ],
)
def test_shrinking_is_antialiased(interpolation, expected):
    """Every other column is white. Without antialiasing the result would be 255 0 255 0 255."""
    stripes = np.zeros((3, 4, 15), np.uint8)
    stripes[:, :, 1::2] = 255
    shrunk = crop(stripes, (0, 0, 4, 15), (4, 5), interpolation)
    assert abs(shrunk[0, 0].astype(int) - expected).max() <= 1


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(20, 30), (7, 90), (1, 1), (64, 48)])
def test_pixels_are_pillows(interpolation, size):
    """Pillow 13 resizes down first where that is cheaper; one pass at a time gives the same pixels in every version."""
    image = noise(3, 50, 61)
    for top, left, bottom, right in [(0, 0, 50, 61), (3, 5, 41, 12), (10, 0, 11, 61), (0.5, 2.25, 30.75, 60)]:
        resampling = Image.Resampling[interpolation.upper()]
        picture = Image.fromarray(image.transpose(1, 2, 0))
        across = picture.resize((size[1], 50), resampling, box=(left, 0, right, 50))
        expected = across.resize((size[1], size[0]), resampling, box=(0, top, size[1], bottom))
        result = crop(image, (top, left, bottom, right), size, interpolation)
        np.testing.assert_array_equal(result, np.asarray(expected).transpose(2, 0, 1))
        if interpolation == "bilinear":
            at_once = np.asarray(picture.resize((size[1], size[0]), resampling, box=(left, top, right, bottom)))
            assert abs(result.astype(int) - at_once.transpose(2, 0, 1)).max() <= 1
        np.testing.assert_array_equal(
            crop(image, (top, left, bottom, right), size, interpolation, mirrored=1), result[:, :, ::-1]
        )


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("interpolation", FILTERS)
def test_a_crop_that_is_not_resized_has_the_pixels_of_the_image(interpolation):
    image = noise(3, 50, 61)
    np.testing.assert_array_equal(crop(image, (7, 9, 27, 39), (20, 30), interpolation), image[:, 7:27, 9:39])


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (3, 2)])
def test_tiny_and_elongated_images_are_cropped_before_they_are_enlarged(shape):
    image = noise(3, *shape)
    pixels = Pixels([stored(image)], CentreView(32, 32, 0.875, "bicubic"), CPU)[torch.tensor([0])]
    assert pixels.shape == (1, 3, 32, 32)
    if shape == (1, 1):
        assert (pixels[0] == torch.from_numpy(image)).all()


@pytest.mark.parametrize("interpolation", FILTERS)
def test_the_matrix_products_of_a_gpu_give_the_same_pixels_but_for_rounding(interpolation):
    images = [noise(3, *size, seed=number) for number, size in enumerate([(50, 61), (20, 33), (1, 70), (64, 9)])]
    sizes = torch.tensor([image.shape[1:] for image in images])
    boxes = torch.stack([0.1 * sizes[:, 0], 0 * sizes[:, 1], 0.9 * sizes[:, 0], 0.7 * sizes[:, 1]], dim=1).float()
    mirrored = torch.tensor([0, 1, 0, 1])
    to = {"shape": (3, 24, 17), "interpolation": interpolation}
    rows = stored(*images)
    expected = resizing.by_pillow([torch.from_numpy(image) for image in images], boxes, mirrored, **to)
    computed = resizing.on_gpu(
        torch.from_numpy(rows.array), torch.from_numpy(rows.starts()), sizes, boxes, mirrored, **to
    )
    difference = (computed.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02


class TestCentreView:
    @pytest.mark.parametrize(
        ("size", "share", "short"), [(224, 0.9, 248), (224, 0.95, 235), (224, 0.875, 256), (299, 0.9, 332)]
    )
    def test_the_short_side_is_rounded_down_as_timm_does(self, size, share, short):
        resized = CentreView(size, size, share, "bicubic").resized(torch.tensor([[1000, 1000]]))
        assert resized.tolist() == [[short, short]]

    @pytest.mark.parametrize("size", [(300, 400), (400, 300), (301, 517), (640, 427), (256, 256), (99, 1000)])
    @pytest.mark.parametrize("share", [0.875, 0.9, 1.0])
    def test_the_pixels_are_those_of_resizing_and_cropping(self, size, share):
        """The steps of torchvision's Resize and CenterCrop, which timm takes."""
        image, view = noise(3, *size), CentreView(224, 224, share, "bicubic")
        height, width = size
        short = int(224 / share)
        long = int(short * max(size) / min(size))
        resized = (short, long) if height <= width else (long, short)
        picture = Image.fromarray(image.transpose(1, 2, 0))
        whole = np.asarray(
            picture.resize((resized[1], height), Image.Resampling.BICUBIC).resize(
                resized[::-1], Image.Resampling.BICUBIC
            )
        )
        top, left = (round((side - 224) / 2.0) for side in resized)
        expected = whole[top : top + 224, left : left + 224].transpose(2, 0, 1)
        seen = Pixels([stored(image)], view, CPU)[torch.tensor([0])][0].numpy()
        difference = abs(seen.astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
        shrunk = resizing.shrunk(image, short, "bicubic")
        if min(size) >= short:  # the stored image has been resized already, so the view only cuts it
            np.testing.assert_array_equal(shrunk, whole.transpose(2, 0, 1))
            from_stored = Pixels([stored(shrunk)], view, CPU)[torch.tensor([0])][0].numpy()
            np.testing.assert_array_equal(from_stored, expected)

    def test_a_view_that_is_not_square_covers_its_margin(self):
        view = CentreView(160, 224, 0.8, "bicubic")
        assert view.resized(torch.tensor([[300, 400], [1000, 300]])).tolist() == [[210, 280], [933, 280]]
        box = view.boxes(torch.tensor([[210, 280]]))[0]
        assert box.tolist() == [25, 28, 185, 252]


@pytest.mark.usefixtures("compiled")
def test_images_are_shrunk_to_a_short_side_and_never_enlarged():
    assert resizing.shrunk(noise(3, 300, 400), 256, "bicubic").shape == (3, 256, 341)
    assert resizing.shrunk(noise(1, 400, 300), 256, "bicubic").shape == (1, 341, 256)
    small = noise(3, 256, 9000)
    assert resizing.shrunk(small, 256, "bicubic") is small
