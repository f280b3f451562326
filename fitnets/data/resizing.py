"""Resized crops of 8-bit images: on the CPU the pixels of Pillow, on a GPU the same but for rounding.

A crop is a box (top, left, bottom, right) in pixels of its image, and becomes an image of another size. Every shrinking
is antialiased; images are resized across first, then down, and rounded to 8 bits after each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitnets.config import Interpolation
from fitnets.kernels import resize

_GPU_IMAGES = 32
"""images that are resized at once on a GPU"""


@dataclass(frozen=True, slots=True)
class CentreView:
    """The view of an image without augmentation: the image is resized and cropped at its centre."""

    height: int
    width: int
    crop_share: float
    """share of the resized image's short side that the crop takes, `crop_pct` in timm"""
    interpolation: Interpolation
    squashes: bool = False
    """the whole image is resized to the crop and its margin, whatever its proportions"""

    def resized(self, sizes: Tensor) -> Tensor:
        """(N, 2): height and width of each image after resizing. sizes: (N, 2), before it.

        A square crop gets the short side, as in torchvision's `Resize`. Otherwise the resized image is the smallest
        that holds the crop and its margin."""
        if self.squashes:
            whole = [int(side / self.crop_share) for side in (self.height, self.width)]
            return torch.tensor(whole, device=sizes.device).expand(len(sizes), 2)
        height, width = sizes.T.double()
        if self.height == self.width:
            short = int(self.height / self.crop_share)  # rounded down as in timm
            is_upright = height >= width
            long = torch.where(is_upright, short * height / width, short * width / height).long()
            return torch.stack([torch.where(is_upright, long, short), torch.where(is_upright, short, long)], dim=1)
        scale = torch.maximum(self.height / height, self.width / width) / self.crop_share
        return torch.stack([(scale * height).round().long(), (scale * width).round().long()], dim=1)

    def boxes(self, sizes: Tensor) -> Tensor:
        """(N, 4) float32: the box of each image that the view shows. sizes: (N, 2), height and width of each image."""
        resized = self.resized(sizes).double()
        crop = torch.tensor([self.height, self.width], dtype=torch.float64, device=sizes.device)
        start = ((resized - crop) / 2).round()  # half to even, as Python does in torchvision's `CenterCrop`
        scale = sizes.double() / resized
        return torch.cat([start * scale, (start + crop) * scale], dim=1).float()


def stored_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of an image whose short side is at most `short_side`, as in torchvision's `Resize`. Smaller
    images keep their size."""
    short, long = min(height, width), max(height, width)
    if short <= short_side:
        return height, width
    long = int(short_side * long / short)
    return (long, short_side) if height >= width else (short_side, long)


def shrunk(image: NDArray[np.uint8], short_side: int, interpolation: Interpolation) -> NDArray[np.uint8]:
    """(C, height, width): an image resized so that its short side is at most `short_side`. Uses one thread.

    image: (C, height, width), contiguous."""
    height, width = image.shape[1:]
    shape = (image.shape[0], *stored_size(height, width, short_side))
    if shape == image.shape:
        return image
    box = torch.tensor([[0.0, 0.0, height, width]])
    resized = resize.crops(
        torch.tensor([image.ctypes.data]),
        torch.tensor([[height, width]]),
        box,
        torch.zeros(1),
        shape=shape,
        interpolation=interpolation,
        threads=1,
    )
    if resized is None:
        resized = by_pillow([torch.from_numpy(image)], box, torch.zeros(1), shape=shape, interpolation=interpolation)
    return resized[0].numpy()


def by_pillow(
    images: Sequence[Tensor],
    boxes: Tensor,
    mirrored: Tensor,
    *,
    shape: tuple[int, int, int],
    interpolation: Interpolation,
) -> Tensor:
    """(N, C, H, W) uint8: the crops that `kernels.resize.crops` computes, by Pillow, with the same pixels.

    images: (C, height, width) uint8 each.
    boxes: (N, 4), top, left, bottom and right.
    mirrored: (N,), 1 for each crop that is shown mirrored.
    shape: (C, H, W) of the crops."""
    crops = torch.empty((len(images), *shape), dtype=torch.uint8)
    for number, (image, box) in enumerate(zip(images, boxes.tolist(), strict=True)):
        for channel, plane in enumerate(image):
            crops[number, channel] = torch.from_numpy(_plane(plane.numpy(), box, shape[1:], interpolation))
        if mirrored[number]:
            crops[number] = crops[number].flip(2)
    return crops


def _plane(
    plane: NDArray[np.uint8], box: Sequence[float], size: tuple[int, int], interpolation: Interpolation
) -> NDArray[np.uint8]:
    from PIL import Image

    resampling: Any = Image.Resampling[interpolation.upper()]
    top, left, bottom, right = box
    height, width = size
    picture = Image.fromarray(plane)
    across = picture.resize((width, picture.height), resampling, box=(left, 0, right, picture.height))
    return np.array(across.resize((width, height), resampling, box=(0, top, width, bottom)))


def on_gpu(
    pixels: Tensor,
    starts: Tensor,
    sizes: Tensor,
    boxes: Tensor,
    mirrored: Tensor,
    *,
    shape: tuple[int, int, int],
    interpolation: Interpolation,
) -> Tensor:
    """(N, C, H, W) uint8: the crops that `kernels.resize.crops` computes, by matrix products. Sums are rounded in
    another order, so pixels may differ by one step.

    pixels: (values,) uint8, the pixels of all images.
    starts: (N,), where the pixels of each image begin.
    sizes: (N, 2), height and width of each image.
    boxes, mirrored, shape: see `by_pillow`."""
    parts = []
    for some in torch.split(torch.arange(len(starts), device=pixels.device), _GPU_IMAGES):
        height, width = sizes[some].T
        y = torch.arange(int(height.max()), device=pixels.device).expand(len(some), -1)
        x = torch.arange(int(width.max()), device=pixels.device).expand(len(some), -1)
        lines = (
            starts[some, None, None]
            + torch.arange(shape[0], device=pixels.device)[:, None] * (height * width)[:, None, None]
        )
        lines = lines + (torch.minimum(y, height[:, None] - 1) * width[:, None])[:, None]
        places = lines[..., None] + torch.minimum(x, width[:, None] - 1)[:, None, None]
        images = pixels[places].float()  # (n, C, tallest, widest); beyond its edge an image repeats its last pixels
        across = _weights(boxes[some, 1], boxes[some, 3], width, x, size=shape[2], interpolation=interpolation)
        down = _weights(boxes[some, 0], boxes[some, 2], height, y, size=shape[1], interpolation=interpolation)
        narrow = _rounded(images @ across.transpose(1, 2)[:, None])
        parts.append(_rounded(down[:, None] @ narrow).to(torch.uint8))
    crops = torch.cat(parts) if parts else pixels.new_empty((0, *shape))
    return torch.where(mirrored.bool()[:, None, None, None], crops.flip(3), crops)


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def _weights(
    start: Tensor, end: Tensor, length: Tensor, places: Tensor, *, size: int, interpolation: Interpolation
) -> Tensor:
    """(N, size, most): weight of each pixel of a line for each pixel of the resized line.

    start, end: (N,), the part of the line that is resized.
    length: (N,), pixels of each line.
    places: (N, most), 0, 1, 2, ... in each row."""
    start, scale = start.double()[:, None, None], ((end - start).double() / size)[:, None, None]
    stretch = scale.clamp(min=1)
    support = _SUPPORT[interpolation] * stretch
    centre = start + (torch.arange(size, device=places.device)[:, None] + 0.5) * scale
    first, last = (centre - support + 0.5).clamp(min=0).floor(), (centre + support + 0.5).floor()
    is_used = (places[:, None] >= first) & (places[:, None] < torch.minimum(last, length[:, None, None].double()))
    weights = torch.where(is_used, _FILTERS[interpolation]((places[:, None] - centre + 0.5) / stretch), 0.0)
    return (weights / weights.sum(dim=2, keepdim=True)).float()


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, -0.5 * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where((x >= -3) & (x < 3), torch.sinc(x) * torch.sinc(x / 3), 0.0)


_SUPPORT = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
_FILTERS = {"bilinear": _triangle, "bicubic": _cubic, "lanczos": _lanczos}
