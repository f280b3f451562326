"""Writes decoded images to a NumPy file, one after the other. After a kill, the next process goes on where it was."""

import io
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fitnets.store import files

_SAVE_SECONDS = 5.0
"""seconds between two records of how far the file is"""
_IMAGES = "images.npy"
_RECORD = "decoding.json"


class PixelFile:
    """The images of one shape in a file, or in memory, that grows by one image at a time."""

    def __init__(self, folder: Path | None, shape: tuple[int, ...]):
        """folder: holds the file; None: the images stay in memory.
        shape: of one image."""
        self.shape = shape
        self.count = 0
        self.record: dict[str, Any] = {}
        """what was given to `save` last, by this process or by an earlier one that was killed"""
        self._folder = folder
        self._saved_at = time.monotonic()
        self._file: BinaryIO = io.BytesIO() if folder is None else self._open(folder)

    def _open(self, folder: Path) -> BinaryIO:
        record = folder / _RECORD
        path = folder / _IMAGES
        if not (record.exists() and path.exists()):
            record.unlink(missing_ok=True)
            file = path.open("w+b")
            self._write_header(file)
            return file
        saved = files.read_json(record)
        self.count, self.record = saved["images"], saved["record"]
        file = path.open("r+b")
        self._write_header(file)
        file.truncate(file.tell() + self.count * int(np.prod(self.shape)))
        file.seek(0, os.SEEK_END)
        return file

    def _write_header(self, file: BinaryIO) -> None:
        """Write the header at the beginning of the file. It has the same length whatever the count."""
        file.seek(0)
        facts = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(file, facts)

    def append(self, image: NDArray[np.uint8]) -> None:
        assert image.shape == self.shape
        self._file.write(np.ascontiguousarray(image).data)
        self.count += 1

    def save(self, record: dict[str, Any]) -> None:
        """Write down how far the file is, at most once in some seconds. record: JSON values to find again."""
        now = time.monotonic()
        if self._folder is None or now - self._saved_at < _SAVE_SECONDS:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        files.write_json(self._folder / _RECORD, {"images": self.count, "record": record})
        self._saved_at = now

    def close(self) -> None:
        """Close the file. In memory the images stay."""
        if self._folder is not None:
            self._file.close()

    def finish(self) -> NDArray[np.uint8]:
        """The images (N, *shape), mapped from the file if there is one. The file is complete then."""
        if self._folder is None:
            assert isinstance(self._file, io.BytesIO)
            return np.frombuffer(self._file.getbuffer(), dtype=np.uint8).reshape(self.count, *self.shape)
        self._write_header(self._file)
        self._file.close()
        (self._folder / _RECORD).unlink(missing_ok=True)
        images: NDArray[np.uint8] = np.load(self._folder / _IMAGES, mmap_mode="c")
        return images
