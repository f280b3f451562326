"""Decodes an image, turns it upright, lays it on white and reduces it to 8 bits. Every failure is a BrokenImage."""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fitnets.kernels import planes

BACKGROUND = "white"
"""colour behind transparent pixels"""
_ORIENTATION = 0x0112
"""number of the EXIF tag"""
_HEAD = 512
"""number of bytes at the beginning of a file that show its format"""


class BrokenImage(Exception):
    """An image cannot be used. The message is the reason."""


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A decoded image in grey or RGB, upright, in its original size."""

    picture: Any
    """a `PIL.Image.Image`"""
    size: tuple[int, int]
    """width and height in pixels, as encoded"""
    transparent: bool
    """some pixel was transparent and shows the background"""
    unoriented: bool
    """the EXIF block cannot be read, so the image is not turned"""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence warnings of decoders, about corrupt EXIF blocks or large images, which may decode all the same.

    Warnings are silenced in all threads, so the main thread does it for those that decode."""
    from PIL import Image

    Image.init()  # several threads must not do it at once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_image(source: Any, channels: int) -> OpenedImage:
    """Decode a file, the bytes of one, or a `PIL.Image.Image`, in grey (1 channel) or RGB (3).

    Raises BrokenImage whatever the decoder raises."""
    from PIL import Image

    head = b""
    try:
        if isinstance(source, Image.Image):
            return _opened(source.copy(), channels)
        with _file(source) as file:
            head = file.read(_HEAD)
            file.seek(0)
            with Image.open(file) as picture:
                return _opened(picture, channels)
    except BrokenImage:
        raise
    except Exception as error:  # decoders raise struct.error, IndexError and many others
        raise BrokenImage(_reason(error, head)) from error


def _opened(picture: Any, channels: int) -> OpenedImage:
    if "transparency" in picture.info:
        picture.info["transparency"] = _transparent_colour(picture)
    picture.load()
    size = picture.size
    upright, unoriented = _upright(picture)
    flat, transparent = _on_background(upright, channels)
    return OpenedImage(flat, size, transparent, unoriented)


def in_8_bits(picture: Any, channels: int) -> Any:
    """The picture in 8-bit grey (1 channel) or RGB (3), on white where it is transparent. 16-bit grey is scaled.

    Raises ValueError for 32-bit pixels, because their range is unknown."""
    return _on_background(picture, channels)[0]


def pixels(picture: Any) -> NDArray[np.uint8]:
    """(C, H, W), contiguous: a copy of the pixels of a grey or RGB picture."""
    array = _lines(picture)
    return np.array(array[None]) if array.ndim == 2 else planes.of_pixels(array)


def _lines(picture: Any) -> NDArray[np.uint8]:
    """(H, W), (H, W, 3) or (H, W, 4): the pixels of a grey or RGB picture, in Pillow's own memory if they lie there in
    one piece. They are valid while the picture is. A fourth value means nothing."""
    import pyarrow

    try:
        values = pyarrow.array(picture)
    except (ValueError, AttributeError, TypeError, pyarrow.ArrowException):  # a large picture, or an old version
        return np.asarray(picture)
    if picture.mode == "L":
        grey: NDArray[np.uint8] = values.to_numpy().reshape(picture.height, picture.width)
        return grey
    coloured: NDArray[np.uint8] = values.values.to_numpy().reshape(picture.height, picture.width, 4)
    return coloured


def disguise(head: bytes) -> str | None:
    """The reason why a file is no image or table, from its first bytes; None if they show no reason.

    head: first bytes of the file."""
    start = head.lstrip().lower()
    if not head:
        return "it is empty"
    if start.startswith(b"version https://git-lfs.github.com/"):
        return "a Git LFS pointer, not the file itself: git lfs pull fetches it"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page: the download went wrong"
    return None


def _file(source: Path | bytes) -> BinaryIO:
    """Open a file, or wrap bytes as one. Raises BrokenImage unless the file is regular: opening a pipe would wait for
    its writer."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        mode = source.stat().st_mode
    except FileNotFoundError:
        if source.is_symlink():
            raise BrokenImage(f"a broken link to {os.readlink(source)}") from None
        raise
    if stat.S_ISDIR(mode):
        raise BrokenImage("a folder, not a file")
    if not stat.S_ISREG(mode):
        raise BrokenImage("not a regular file but a pipe, socket or device")
    try:
        source.name.encode()
    except UnicodeEncodeError:
        raise BrokenImage("its name is not UTF-8: rename it") from None
    return source.open("rb")


def _reason(error: Exception, head: bytes) -> str:
    from PIL import UnidentifiedImageError

    if head or isinstance(error, UnidentifiedImageError):
        problem = disguise(head)
        if problem is not None:
            return problem
    if isinstance(error, UnidentifiedImageError):
        return "no image in a format that Pillow reads"
    if isinstance(error, MemoryError):
        return "decoding it takes more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = next(iter(str(error).splitlines()), "")
    if "truncated" in text.lower():
        return "truncated: its end is missing"
    return text if text and isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _upright(picture: Any) -> tuple[Any, bool]:
    """(the picture turned by its EXIF orientation, True if the EXIF block cannot be read)."""
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    try:
        method = turns.get(picture.getexif().get(_ORIENTATION))
    except Exception:  # a wrong EXIF block does not make the image unusable
        return picture, True
    return (picture if method is None else picture.transpose(method)), False


def _transparent_colour(picture: Any) -> Any:
    """The transparent colour of a PNG without an alpha channel, in the values of the decoded pixels. The file states
    the colour in its own depth of 1, 2, 4 or 16 bits."""
    key = picture.info["transparency"]
    raw_mode = str(picture.tile[0].args) if picture.tile else ""
    if isinstance(key, tuple) and ";16" in raw_mode:
        return tuple(value >> 8 for value in key)
    if isinstance(key, int) and picture.mode == "L":
        return key * {"L;2": 85, "L;4": 17}.get(raw_mode, 1)
    return key


def _on_background(picture: Any, channels: int) -> tuple[Any, bool]:
    """(the picture in 8-bit grey or RGB on the background, True if any of its pixels is transparent)."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        picture = _from_16_bits(picture)
    if picture.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {picture.mode}): save it with 8 or 16 bits")
    mode = "L" if channels == 1 else "RGB"
    if not picture.has_transparency_data:
        picture.load()  # a file may be closed before the pixels are used
        return picture if picture.mode == mode else picture.convert(mode), False
    premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(picture.mode)
    if premultiplied:
        picture = picture.convert(premultiplied)
    coloured = picture.convert("RGBA")
    if coloured.getchannel("A").getextrema()[0] == 255:
        return picture.convert(mode), False
    canvas = Image.new("RGBA", coloured.size, BACKGROUND)
    canvas.alpha_composite(coloured)
    return canvas.convert(mode), True


def _from_16_bits(picture: Any) -> Any:
    """A 16-bit grey picture in 8 bits, with an alpha channel if one grey value is transparent."""
    from PIL import Image

    values, key = np.asarray(picture), picture.info.get("transparency")
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if not isinstance(key, int):
        return grey
    grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey
