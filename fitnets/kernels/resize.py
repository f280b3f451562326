"""Crops of 8-bit images, resized with antialiasing, as one compiled loop."""

import torch
from torch import Tensor

from fitnets.kernels import library

_NUMBERS = {"bilinear": 0, "bicubic": 1, "lanczos": 2}


def crops(
    addresses: Tensor,
    sizes: Tensor,
    boxes: Tensor,
    mirrored: Tensor,
    *,
    shape: tuple[int, int, int],
    interpolation: str,
    threads: int | None = None,
) -> Tensor | None:
    """Return a resized crop of each image, (N, C, H, W) uint8; None where the compiled loop cannot be used.

    addresses: (N,), where each image lies in the CPU's memory, (C, rows, columns) uint8.
    sizes: (N, 2), rows and columns of each image.
    boxes: (N, 4) float32, top, left, bottom and right of each crop, in pixels of its image.
    mirrored: (N,), 1 for each crop that is shown mirrored, 0 for the others.
    shape: (C, H, W) of the crops.
    interpolation: bilinear, bicubic or lanczos.
    threads: None: as many as PyTorch has.

    The pixels are those of Pillow's `Image.resize` with a box, first across and then down."""
    loops = library.load("resize")
    if loops is None:
        return None
    out = torch.empty((len(addresses), *shape), dtype=torch.uint8)
    addresses, sizes, mirrored = (values.to(torch.int64).contiguous() for values in (addresses, sizes, mirrored))
    whole = [len(addresses), *shape, _NUMBERS[interpolation], threads or torch.get_num_threads()]
    library.call(loops.resize, addresses, sizes, boxes.float().contiguous(), mirrored, *whole, out)
    return out
