"""Operations on 8-bit images round and clamp, leave bytes alone at the neutral strength, and ignore the batch."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from fitnets.data import operations

STRENGTHS = {  # operation: (a strength that changes an image, the neutral one)
    "brightness": (1.5, 1.0),
    "contrast": (0.4, 1.0),
    "saturation": (1.7, 1.0),
    "hue": (0.2, 0.0),
    "sharpness": (1.9, 1.0),
    "posterize": (3.0, 8.0),
    "solarize": (100.0, 256.0),
    "autocontrast": (0.0, None),
    "equalize": (0.0, None),
    "shear_x": (0.3, 0.0),
    "shear_y": (-0.3, 0.0),
    "translate_x": (3.0, 0.0),
    "translate_y": (-2.0, 0.0),
    "rotate": (37.0, 0.0),
}


def photos(count: int = 5, side: int = 24) -> torch.Tensor:
    generator = np.random.default_rng(0)
    coarse = generator.integers(40, 200, (count, 3, side // 4, side // 4), dtype=np.uint8)
    smooth = [
        np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BICUBIC))
        for image in coarse
    ]
    return torch.from_numpy(np.stack(smooth).transpose(0, 3, 1, 2).copy())


def applied(name: str, images: torch.Tensor, strength: float) -> torch.Tensor:
    return getattr(operations, name)(images, torch.full((len(images),), strength, dtype=torch.float64))


def pixels(*values) -> torch.Tensor:
    """One image of one line: grey values, or (red, green, blue)."""
    array = np.asarray(values, np.uint8)
    return torch.from_numpy(array.reshape(1, 1, 1, -1) if array.ndim == 1 else array.T.reshape(1, 3, 1, -1).copy())


@pytest.mark.parametrize("name", STRENGTHS)
def test_the_result_does_not_depend_on_the_batch(name):
    images, (strength, _) = photos(), STRENGTHS[name]
    together = applied(name, images, strength)
    assert together.dtype == torch.uint8
    assert not torch.equal(together, images)
    for number, image in enumerate(images):
        assert torch.equal(applied(name, image[None], strength)[0], together[number])
    each = torch.linspace(0, 1, 5, dtype=torch.float64)
    mixed = getattr(operations, name)(images, each)
    for number in range(5):
        assert torch.equal(getattr(operations, name)(images[number][None], each[number][None])[0], mixed[number])


@pytest.mark.parametrize("name", [name for name, (_, neutral) in STRENGTHS.items() if neutral is not None])
def test_a_neutral_strength_gives_the_same_bytes(name):
    images = photos()
    assert torch.equal(applied(name, images, STRENGTHS[name][1]), images)


@pytest.mark.parametrize(
    ("name", "pillow"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.6])
def test_enhancements_are_pillows_but_for_rounding(name, pillow, factor):
    images = photos()
    for image, changed in zip(images, applied(name, images, factor), strict=True):
        picture = Image.fromarray(image.numpy().transpose(1, 2, 0))
        expected = np.asarray(pillow(picture).enhance(factor)).transpose(2, 0, 1)
        assert abs(changed.numpy().astype(int) - expected).max() <= 1


def test_equalize_and_grey_are_pillows():
    images = photos()
    for image, changed, grey in zip(
        images, operations.equalize(images, torch.zeros(5)), operations.grey(images), strict=True
    ):
        picture = Image.fromarray(image.numpy().transpose(1, 2, 0))
        np.testing.assert_array_equal(changed.numpy(), np.asarray(ImageOps.equalize(picture)).transpose(2, 0, 1))
        np.testing.assert_array_equal(grey[0].numpy(), np.asarray(picture.convert("L")))


def test_values_are_clamped_not_wrapped():
    assert applied("brightness", pixels(200), 1.5).item() == 255


def test_hue_turns_the_circle_and_leaves_grey_and_black():
    red = pixels((255, 0, 0))
    assert applied("hue", red, -1 / 3).flatten().tolist() == [0, 0, 255]
    assert applied("hue", red, 1 / 3).flatten().tolist() == [0, 255, 0]
    for name in ("hue", "saturation"):
        for strength in (0.0, 0.3, 0.5):
            grey = pixels((0, 0, 0), (90, 90, 90), (255, 255, 255))
            assert torch.equal(applied(name, grey, strength), grey)


def test_solarize_and_autocontrast_at_their_ends():
    values = pixels(0, 1, 127, 128, 255)
    assert torch.equal(applied("solarize", values, 256), values)
    assert torch.equal(applied("solarize", values, 0), 255 - values)
    stretched = applied("autocontrast", pixels(50, 60, 100), 0)
    assert stretched.flatten().tolist() == [0, 51, 255]
    assert applied("autocontrast", pixels(7, 7), 0).flatten().tolist() == [7, 7]


def test_posterize_never_makes_black():
    assert applied("posterize", pixels(200, 255), 0).flatten().tolist() == [128, 128]


def test_translations_and_rotations_move_pixels():
    line = pixels(1, 2, 3, 4)
    assert applied("translate_x", line, 1).flatten().tolist() == [0, 1, 2, 3]
    assert applied("translate_x", line, -2).flatten().tolist() == [3, 4, 0, 0]
    square = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)[None, None]
    assert applied("rotate", square, 90)[0, 0].tolist() == [[2, 4], [1, 3]]
    assert applied("rotate", square, 180)[0, 0].tolist() == [[4, 3], [2, 1]]
