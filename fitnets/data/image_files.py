"""Prepares further image files like the images of a network's data set, and describes the preparation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets.config import Dataset, Folder
from fitnets.data.reading import folder, folder_layout
from fitnets.data.reading.encoded_image import BACKGROUND


def describe(dataset: Dataset) -> str:
    """Describe how an image file becomes an image of this data set, in words for users who run its network
    elsewhere."""
    colour = "grey" if dataset.channels == 1 else "RGB"
    if isinstance(dataset, Folder):
        return (
            f"turned upright as EXIF says; laid on {BACKGROUND} where transparent; {colour} with 8 bits; "
            f"{_resizing(dataset)}; pixels 0 to 255"
        )
    return (
        f"{colour}, {dataset.height} pixels high and {dataset.width} wide, as the data set has them: none was resized "
        f"or cropped; pixels 0 to {dataset.pixel_max:g}"
    )


def _resizing(dataset: Dataset) -> str:
    return (
        f"resized without distortion until it just covers {dataset.width}x{dataset.height} pixels, so that the shorter "
        "side fits (Pillow's bicubic filter, which smooths when it shrinks); cropped at the centre to that size"
    )


def resizing_note(dataset: Dataset) -> str | None:
    """Describe how `pixels` changes files for a data set whose own images are not resized; None for a folder of
    images."""
    if isinstance(dataset, Folder):
        return None
    return (
        f"the network was trained on images of {dataset.name} as they are. Each file is turned upright as EXIF says "
        f"and laid on {BACKGROUND} where transparent; {_resizing(dataset)}; its pixels are scaled from 0..255 to "
        f"0..{dataset.pixel_max:g}"
    )


def pixels(dataset: Dataset, path: Any) -> NDArray[np.uint8]:
    """(C, H, W): the pixels of a file or of a `PIL.Image.Image`, 0 to 255, prepared as `dataset=folder` does for
    these channels and this size.

    Raises `encoded_image.BrokenImage` with the reason."""
    return folder.pixels(dataset, path)


def split_by_kind(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """(image files, other files): the files, and all files in the folders and their sub-folders. Hidden files in
    folders are skipped.

    paths: files and folders. A file listed here counts as an image whatever its suffix."""
    images: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if path.is_dir():
            for file in _files_below(path):
                (images if folder_layout.is_image(file) else others).append(file)
        else:
            images.append(path)
    return images, others


def _files_below(root: Path) -> Iterator[Path]:
    """Files of a folder and its sub-folders, sorted by name, without hidden ones. Links to folders are not followed."""
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path)
        else:
            yield path
