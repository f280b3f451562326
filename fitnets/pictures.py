"""From a Pillow image to 8-bit pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def in_8_bits(picture: Any, channels: int) -> Any:
    """The picture in grey (1 channel) or RGB (3). 16-bit grey is scaled; ValueError for 32-bit pixels, whose range is
    unknown."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {picture.mode}): save it with 8 or 16 bits")
    return picture.convert("L" if channels == 1 else "RGB")


def pixels(picture: Any) -> NDArray[np.uint8]:
    """(C, H, W) of a grey or RGB picture."""
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
