"""Preprocessed images from 8-bit ones, by a table of all pixel values, as one compiled loop."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fitnets.kernels import library


def images(arrays: Sequence[Tensor], array: Tensor, row: Tensor, table: Tensor) -> Tensor | None:
    """Return some images with every pixel looked up in a table; None where the compiled loop cannot be used.

    arrays: the 8-bit images, (M, C, H, W) each, contiguous, in the CPU's memory.
    array, row: (N,), the array that holds each image and its row there.
    table: (C, 256) float32.

    The images are (N, C, H, W) float32. They have the same bits as PyTorch's own indexing."""
    loops = library.load("lookup")
    if loops is None:
        return None
    shape = arrays[0].shape[1:]
    starts = torch.tensor([images.data_ptr() for images in arrays])
    out = torch.empty((len(row), *shape))
    addresses = starts[array] + row * shape.numel()
    loops.lookup.restype = None
    plane = shape.numel() // len(table)
    library.call(loops.lookup, addresses, len(row), len(table), plane, table, torch.get_num_threads(), out)
    return out
