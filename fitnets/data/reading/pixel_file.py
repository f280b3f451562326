"""Writes decoded images to NumPy files, one after the other. After a kill, the next process goes on where it was."""

import io
import math
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fitnets.store import files

_SAVE_SECONDS = 5.0
"""seconds between two records of how far the files are"""
_RECORD = "decoding.json"


class _GrowingArray:
    """An array in a NumPy file, or in memory, that grows along its first axis."""

    def __init__(self, path: Path | None, shape: tuple[int, ...], dtype: str, count: int):
        """path: the file; None: the array stays in memory.
        shape: of one entry.
        count: number of entries that an earlier process wrote; what lies behind them is dropped."""
        self.count, self.shape, self.dtype = count, shape, np.dtype(dtype)
        self._path = path
        self._file: BinaryIO = io.BytesIO() if path is None else path.open("r+b" if count else "w+b")
        if path is not None:
            self._write_header()
            self._file.truncate(self._file.tell() + count * math.prod(shape) * self.dtype.itemsize)
            self._file.seek(0, os.SEEK_END)

    def _write_header(self) -> None:
        """Write the header at the beginning of the file. NumPy gives it the same length whatever the count."""
        self._file.seek(0)
        facts = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, facts)

    def append(self, entries: NDArray[Any]) -> None:
        assert entries.shape[1:] == self.shape
        self._file.write(np.ascontiguousarray(entries, self.dtype).data)
        self.count += len(entries)

    def sync(self) -> None:
        """Make sure that the file survives a crash of the machine."""
        if self._path is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file. In memory the entries stay."""
        if self._path is not None:
            self._file.close()

    def finish(self) -> NDArray[Any]:
        """The array, mapped from the file if there is one. The file is complete then."""
        if self._path is None:
            assert isinstance(self._file, io.BytesIO)
            return np.frombuffer(self._file.getbuffer(), self.dtype).reshape(self.count, *self.shape)
        self._write_header()
        self._file.close()
        array: NDArray[Any] = np.load(self._path, mmap_mode="r")
        return array


class PixelFile:
    """Images in files, or in memory, to which one image after the other is added."""

    def __init__(self, folder: Path | None, shape: tuple[int, int, int] | None):
        """folder: holds the files; None: the images stay in memory.
        shape: (C, H, W) of all images; None: each has its own height and width."""
        path = None if folder is None else folder / _RECORD
        written: dict[str, Any] = {"images": 0, "values": 0}
        if path is not None and path.exists():
            written = files.read_json(path)
        self.record: dict[str, Any] = written.get("record", {})
        """what was given to `save` last, by this process or by an earlier one that was killed"""
        self._folder = folder
        self._saved_at = time.monotonic()
        images, sizes = (None if folder is None else folder / f"{name}.npy" for name in ("images", "sizes"))
        self._images = _GrowingArray(images, () if shape is None else shape, "u1", written["values"])
        self._sizes = _GrowingArray(sizes, (2,), "i4", written["images"]) if shape is None else None

    @property
    def count(self) -> int:
        """Number of images so far."""
        return (self._sizes or self._images).count

    @property
    def bytes(self) -> int:
        """Size of the images so far."""
        return self._images.count * math.prod(self._images.shape)

    def append(self, image: NDArray[np.uint8]) -> None:
        """image: (C, H, W)"""
        if self._sizes is None:
            self._images.append(image[None])
        else:
            self._images.append(image.reshape(-1))
            self._sizes.append(np.asarray([image.shape[1:]]))

    def save(self, record: dict[str, Any]) -> None:
        """Write down how far the files are, at most once in some seconds. record: JSON values to find again."""
        now = time.monotonic()
        if self._folder is None or now - self._saved_at < _SAVE_SECONDS:
            return
        for array in self._arrays():
            array.sync()
        written = {"images": self.count, "values": self._images.count, "record": record}
        files.write_json(self._folder / _RECORD, written)
        self._saved_at = now

    def close(self) -> None:
        for array in self._arrays():
            array.close()

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.int32] | None]:
        """The images (N, C, H, W). If each has its own size: the pixels of all, one after the other, and the height
        and width of each, (N, 2). The files are complete then."""
        arrays = [array.finish() for array in self._arrays()]
        if self._folder is not None:
            (self._folder / _RECORD).unlink(missing_ok=True)
        return arrays[0], arrays[1] if len(arrays) > 1 else None

    def _arrays(self) -> list[_GrowingArray]:
        return [self._images] if self._sizes is None else [self._images, self._sizes]
