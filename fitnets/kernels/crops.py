"""Random crops of zero-padded images as one compiled loop."""

import torch
from torch import Tensor

from fitnets.kernels import library


def crops(images: Tensor, down: Tensor, right: Tensor, mirrored: Tensor, pad: int) -> Tensor | None:
    """Return crops of zero-padded images, (N, C, H, W) channels last; None where the compiled loop cannot be used.

    images: (N, C, H, W).
    down, right: (N,), row and column of the padded image at which each crop begins.
    mirrored: (N,), 1 for each crop that is shown mirrored, 0 for the others.
    pad: zeros on every side, in pixels."""
    is_plain = type(images) is Tensor and images.device.type == "cpu" and images.dtype == torch.float32
    loops = library.load("crops") if is_plain and images.is_contiguous() and not images.requires_grad else None
    if loops is None:
        return None
    out = torch.empty_like(images, memory_format=torch.channels_last)
    places = [values.to(torch.int64).contiguous() for values in (down, right, mirrored)]
    loops.crops.restype = None
    library.call(loops.crops, images, *places, *images.shape, pad, torch.get_num_threads(), out)
    return out
