"""Image files that are in no data set: prepared as a network's data set prepares its own, and that in words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fitnets.config import Dataset, Folder
from fitnets.data.reading import folder, folder_layout
from fitnets.data.reading.encoded_image import BACKGROUND

RESIZING = (
    "resized without distortion until it just covers {width}x{height} pixels, so that the shorter side fits (Pillow's "
    "bicubic filter, which smooths when it shrinks); cropped at the centre to that size"
)


def described(dataset: Dataset) -> str:
    """How an image file becomes an image of this data set, in words for those who run its network elsewhere."""
    colour = "grey" if dataset.channels == 1 else "RGB"
    size = {"height": dataset.height, "width": dataset.width}
    if isinstance(dataset, Folder):
        return (
            f"turned upright as EXIF says; laid on {BACKGROUND} where transparent; {colour} with 8 bits; "
            f"{RESIZING.format(**size)}; pixels 0 to 255"
        )
    return (
        f"{colour}, {dataset.height} pixels high and {dataset.width} wide, as the data set has them: none was resized "
        f"or cropped; pixels 0 to {dataset.pixel_max:g}"
    )


def resizing_note(dataset: Dataset) -> str | None:
    """A note for data sets that resize nothing: what `pixels` does to files all the same."""
    if isinstance(dataset, Folder):
        return None
    resizing = RESIZING.format(height=dataset.height, width=dataset.width)
    return (
        f"the network was trained on images of {dataset.name} as they are. Each file is turned upright as EXIF says "
        f"and laid on {BACKGROUND} where transparent; {resizing}; its pixels are scaled from 0..255 to "
        f"0..{dataset.pixel_max:g}"
    )


def pixels(dataset: Dataset, path: Path) -> NDArray[np.uint8]:
    """(C, H, W) of a file, 0 to 255, as `dataset=folder` prepares it for these channels and this size.

    Raises pictures.BrokenImage, with the reason."""
    return folder.pixels(dataset, path)


def listed(places: list[Path]) -> tuple[list[Path], list[Path]]:
    """(image files, other files) of some files and folders. A file that is named is taken for an image whatever its
    suffix; a folder stands for the images in it and in its sub-folders, without hidden ones."""
    images: list[Path] = []
    others: list[Path] = []
    for place in places:
        if place.is_dir():
            for path in _below(place):
                (images if folder_layout.is_image(path) else others).append(path)
        else:
            images.append(place)
    return images, others


def _below(root: Path) -> Iterator[Path]:
    """Files of a folder and its sub-folders, by name, without hidden ones."""
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        else:
            yield path
