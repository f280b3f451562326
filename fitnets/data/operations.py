"""Operations on 8-bit images, each image with its own strength: those of RandAugment and TrivialAugment, and colour.

Images are (N, C, H, W) uint8, and strengths (N,) float64. Values are computed in wider types, rounded, and clamped to 8
bits. The result for an image does not depend on the others in its batch. A strength that means no change gives the same
bytes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]


def _per_image(strength: Tensor) -> Tensor:
    return strength.view(-1, 1, 1, 1)


def _in_8_bits(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _blended(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """other + factor (images - other), as Pillow's `ImageEnhance`: factor 1 leaves the images as they are."""
    return _in_8_bits(other.double() + _per_image(factor) * (images.double() - other.double()))


def grey(images: Tensor) -> Tensor:
    """(N, 1, H, W): brightness by ITU-R 601, computed in whole numbers as Pillow does."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.int().split(1, dim=1)  # type: ignore[no-untyped-call]
    result: Tensor = ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)
    return result


# --- colour ---


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """factor: 0 makes images black, 1 changes nothing."""
    return _blended(images, torch.zeros_like(images), factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """factor: 0 makes images grey, of their mean brightness; 1 changes nothing."""
    values = grey(images).flatten(1)
    mean = (values.sum(dim=1, dtype=torch.int64) + values.shape[1] // 2) // values.shape[1]
    return _blended(images, mean.view(-1, 1, 1, 1).expand_as(images), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """factor: 0 takes the colour away, 1 changes nothing."""
    return _blended(images, grey(images).expand_as(images), factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """shift: share of the colour circle by which hues are turned, from -0.5 to 0.5. Grey pixels stay as they are."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.double().unbind(dim=1)
    high, low = images.double().amax(dim=1), images.double().amin(dim=1)
    spread = (high - low).clamp(min=1)
    sextant = torch.where(
        high == red,
        (green - blue) / spread,
        torch.where(high == green, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )
    turned = (sextant + 6 * shift.view(-1, 1, 1)) % 6
    channels = [(high - (high - low) * (1 - _ramp((turned + offset) % 6))) for offset in (0, 4, 2)]
    changed = _in_8_bits(torch.stack(channels, dim=1))
    is_kept = (high == low)[:, None] | (_per_image(shift) == 0)
    return torch.where(is_kept, images, changed)


def _ramp(turned: Tensor) -> Tensor:
    """The share of a channel whose hue is 0: 1 up to a sixth of the circle from it, 0 from a third on."""
    distance = torch.minimum(turned, 6 - turned)
    return (2 - distance).clamp(0, 1)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """factor: 0 smooths images, 1 changes nothing. Pixels at the edge stay as they are."""
    if min(images.shape[2:]) < 3:
        return images
    wide = images.int()
    height, width = images.shape[2:]
    around = sum(wide[:, :, y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3))
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (2 * (around + 4 * wide[:, :, 1:-1, 1:-1]) + 13) // 26  # the rounded 13th part
    return _blended(images, smooth, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """bits: number of the highest bits that are kept, at least 1."""
    dropped = 8 - bits.round().clamp(1, 8).to(torch.int32)
    mask = (255 >> dropped << dropped).view(-1, 1, 1, 1)
    return (images & mask).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """threshold: pixel values from it on are inverted."""
    return torch.where(images >= _per_image(threshold), 255 - images, images)


def autocontrast(images: Tensor, _strength: Tensor) -> Tensor:
    """Stretch each channel to the range from 0 to 255. A channel of one value stays as it is."""
    low, high = (extreme(images.flatten(2), dim=2)[..., None, None].double() for extreme in (torch.amin, torch.amax))
    stretched = _in_8_bits((images.double() - low) * (255 / (high - low).clamp(min=1)))
    return torch.where(high > low, stretched, images)


def equalize(images: Tensor, _strength: Tensor) -> Tensor:
    """Make the values of each channel about equally common, as Pillow's `ImageOps.equalize` does."""
    values = images.flatten(0, 1).flatten(1).long()
    counts = torch.zeros(len(values), 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    places = torch.arange(256, device=images.device)
    last = torch.where(counts > 0, places, -1).amax(dim=1, keepdim=True)
    step = (values.shape[1] - counts.gather(1, last)) // 255
    before = counts.cumsum(dim=1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where((step == 0) | ((counts > 0).sum(dim=1, keepdim=True) <= 1), places, table)
    return table.gather(1, values).to(torch.uint8).view_as(images)


# --- geometry: the nearest pixel; black comes in from beyond the edge ---


def _moved(images: Tensor, matrix: Tensor) -> Tensor:
    """matrix: (N, 2, 3) float64, from places (x, y, 1) in the result to places (x, y) in the image; the centre of the
    image is (0, 0), and a pixel is 1 wide."""
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device, dtype=torch.float64) - (height - 1) / 2
    x = torch.arange(width, device=images.device, dtype=torch.float64) - (width - 1) / 2
    across, down = (
        matrix[:, row, 0, None, None] * x + matrix[:, row, 1, None, None] * y[:, None] + matrix[:, row, 2, None, None]
        for row in (0, 1)
    )
    # a place just between two pixels must not depend on the last bit of a sum
    column = (across + (width - 1) / 2 + 1e-6).round().long()
    line = (down + (height - 1) / 2 + 1e-6).round().long()
    is_inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    places = line.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    moved = images.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view_as(images)
    return torch.where(is_inside[:, None], moved, 0)


def _matrix(*rows: tuple[Tensor | float, Tensor | float, Tensor | float], like: Tensor) -> Tensor:
    """(N, 2, 3) float64, from two rows of numbers or of (N,) tensors."""
    numbers = [[torch.as_tensor(one, device=like.device).double().expand_as(like) for one in row] for row in rows]
    return torch.stack([torch.stack(row, dim=1) for row in numbers], dim=1)


def shear_x(images: Tensor, shear: Tensor) -> Tensor:
    """shear: pixels to the left for each pixel down, from the centre."""
    return _moved(images, _matrix((1, shear, 0), (0, 1, 0), like=shear))


def shear_y(images: Tensor, shear: Tensor) -> Tensor:
    """shear: pixels up for each pixel to the right, from the centre."""
    return _moved(images, _matrix((1, 0, 0), (shear, 1, 0), like=shear))


def translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    """pixels: shift to the right, rounded towards 0."""
    return _moved(images, _matrix((1, 0, -pixels.trunc()), (0, 1, 0), like=pixels))


def translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    """pixels: shift downwards, rounded towards 0."""
    return _moved(images, _matrix((1, 0, 0), (0, 1, -pixels.trunc()), like=pixels))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """degrees: turn against the clock, around the centre."""
    angle = degrees.deg2rad()
    return _moved(images, _matrix((angle.cos(), -angle.sin(), 0), (angle.sin(), angle.cos(), 0), like=angle))
