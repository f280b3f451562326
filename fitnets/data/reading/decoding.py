"""The loop that decodes every image file and every row of a table, and its report."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fitnets.data.eight_bit import StoredRows
from fitnets.data.reading import encoded_image
from fitnets.data.reading.encoded_image import BACKGROUND, BrokenImage, OpenedImage
from fitnets.data.reading.pixel_file import PixelFile
from fitnets.errors import ConfigError, printable
from fitnets.progress import Track
from fitnets.store import files

_AHEAD = 4
"""images for each thread that are decoded or wait while an earlier one is awaited"""
_Encoded = TypeVar("_Encoded")

_SAMPLE = 64
"""images of different sizes after which the space for all of them is foretold"""
_ANOTHER_STORE = "give another store=..."
_LISTED = 20
"""largest number of broken images in a message"""

Raw = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""decoded images (N, C, H, W) and their labels (N,)"""


@dataclass(slots=True, kw_only=True)
class Report:
    """Counts and reasons from decoding some images."""

    total: int = 0
    """images that were decoded or found broken"""
    broken: dict[str, str] = field(default_factory=dict)
    """reason why an image cannot be used, by the name of the image"""
    transparent: int = 0
    """images with transparent pixels, which were laid on the background"""
    unoriented: int = 0
    """images whose EXIF block cannot be read, which were not turned"""
    smallest: list[int] | None = None
    """width and height in pixels, as encoded, of the image with the fewest pixels"""
    largest: list[int] | None = None
    """width and height in pixels, as encoded, of the image with the most pixels"""

    def notes(self, where: str) -> Iterator[str]:
        """Yield sentences for the plan. where: name of the set of images, such as 'train'."""
        if self.transparent:
            yield f"{where}: {self.transparent} of {self.total} images are transparent: laid on {BACKGROUND}"
        if self.unoriented:
            yield (
                f"{where}: {self.unoriented} of {self.total} images have an EXIF block that cannot be read: used as "
                "they lie in the file, not turned"
            )
        if self.broken:
            yield (
                f"{where}: {len(self.broken)} of {self.total} images cannot be used and are left out "
                f"(dataset.skip_broken=true): {list_broken(self.broken)}"
            )


@dataclass(frozen=True, slots=True)
class Decoded:
    """Usable images with their labels, and the report of decoding them."""

    images: StoredRows
    """(N, C, H, W)"""
    labels: NDArray[np.int64]
    """(N,)"""
    report: Report

    @property
    def raw(self) -> Raw:
        return np.stack(list(self.images)), self.labels


class BrokenImages(ConfigError):
    """Some images cannot be used.

    place: override that selects the data set, such as `dataset.path=DIR`.
    reports: one report for each part."""

    def __init__(self, place: str, reports: Sequence[Report]):
        self.place = place
        self.reports = list(reports)
        broken = {name: reason for report in reports for name, reason in report.broken.items()}
        total = sum(report.total for report in reports)
        super().__init__(
            f"{place}: {len(broken)} of {total} images cannot be used: {list_broken(broken)}: "
            "repair or replace them, or give dataset.skip_broken=true to leave them out"
        )


def merge(errors: Sequence[BrokenImages]) -> BrokenImages:
    """One error for the broken images of several errors about one data set."""
    return BrokenImages(errors[0].place, [report for error in errors for report in error.reports])


def decode(
    names: Sequence[str],
    load: Callable[[int], _Encoded],
    read: Callable[[_Encoded], tuple[NDArray[np.uint8], OpenedImage]],
    shape: tuple[int, int, int] | None,
    *,
    track: Track,
    title: str,
    folder: Path | None,
) -> tuple[tuple[NDArray[np.uint8], NDArray[np.int32] | None], NDArray[np.int64], Report]:
    """Decode every image, several at a time. Returns the usable images and their sizes as `PixelFile.finish` does,
    their rows (N,) and a report, which alone holds the broken images.

    names: name of each image, for the report.
    load: returns what `read` needs of a row, such as its path.
    read: returns the pixels (C, H, W); raises BrokenImage. It is called by several threads at once.
    shape: (C, H, W) of all images; None: each has its own height and width.
    folder: gets the images in files, from which they are mapped; None: they stay in memory. If an earlier process was
        killed while it filled the folder, decoding continues where that process was."""
    if folder is not None and shape is not None:
        size = len(names) * math.prod(shape)
        files.check_space(folder.parent, size, f"{title}: the images", _ANOTHER_STORE)
    with closing(PixelFile(folder, shape)) as images:
        report = Report(**images.record) if images.record else Report(total=len(names))
        first = images.count + len(report.broken)
        all_decoded = _decoded(load, read, len(names), first)
        for row, decoded in zip(track(range(first, len(names)), title), all_decoded, strict=True):
            if isinstance(decoded, BrokenImage):
                report.broken[names[row]] = printable(str(decoded))
            else:
                pixels, opened = decoded
                images.append(pixels)
                report.transparent += opened.transparent
                report.unoriented += opened.unoriented
                _record_size(report, list(opened.size))
            images.save(asdict(report))
            if folder is not None and shape is None and images.count == _SAMPLE:
                left = (len(names) - _SAMPLE) * images.bytes // _SAMPLE
                files.check_space(folder.parent, left, f"{title}: the images, about,", _ANOTHER_STORE)
        usable = np.flatnonzero([name not in report.broken for name in names])
        return images.finish(), usable, report


def _decoded(
    load: Callable[[int], _Encoded],
    read: Callable[[_Encoded], tuple[NDArray[np.uint8], OpenedImage]],
    count: int,
    first: int,
) -> Iterator[tuple[NDArray[np.uint8], OpenedImage] | BrokenImage]:
    """Yield what `read` returns for the rows from `first` on, in their order, or why it failed."""

    def result(future: Future[tuple[NDArray[np.uint8], OpenedImage]]) -> Any:
        try:
            return future.result()
        except BrokenImage as error:
            return error

    threads = torch.get_num_threads()
    with encoded_image.without_warnings(), ThreadPoolExecutor(threads, "decoding") as pool:
        waiting: deque[Future[tuple[NDArray[np.uint8], OpenedImage]]] = deque()
        try:
            for row in range(first, count):
                waiting.append(pool.submit(read, load(row)))
                if len(waiting) == _AHEAD * threads:
                    yield result(waiting.popleft())
            while waiting:
                yield result(waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _record_size(report: Report, size: list[int]) -> None:
    pixels = size[0] * size[1]
    if report.smallest is None or pixels < report.smallest[0] * report.smallest[1]:
        report.smallest = size
    if report.largest is None or pixels > report.largest[0] * report.largest[1]:
        report.largest = size


def list_broken(broken: dict[str, str]) -> str:
    """The broken images with their reasons, as 'a.png (it is empty); b.png (...); and 3 more'."""
    shown = [f"{name} ({reason})" for name, reason in list(broken.items())[:_LISTED]]
    return "; ".join(shown + [f"and {len(broken) - _LISTED} more"] * (len(broken) > _LISTED))
