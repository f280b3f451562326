"""The loop that decodes every image file and every row of a table, and its report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets.data.reading.encoded_image import BACKGROUND, BrokenImage
from fitnets.errors import ConfigError, printable
from fitnets.progress import Track

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

    images: NDArray[np.uint8]
    """(N, C, H, W)"""
    labels: NDArray[np.int64]
    """(N,)"""
    report: Report

    @property
    def raw(self) -> Raw:
        return self.images, self.labels


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
    read: Callable[[int], tuple[NDArray[np.uint8], Any]],
    shape: tuple[int, int, int],
    track: Track,
    title: str,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], Report]:
    """Decode every image. Returns the usable images (N, C, H, W), their rows (N,) and a report, which alone holds the
    broken images.

    names: name of each image, for the report.
    read: returns the pixels (C, H, W) and the `encoded_image.OpenedImage` of a row; raises BrokenImage.
    shape: (C, H, W) of an image."""
    images = np.empty((len(names), *shape), dtype=np.uint8)
    usable = np.ones(len(names), dtype=bool)
    report = Report(total=len(names))
    for row in track(range(len(names)), title):
        try:
            images[row], opened = read(row)
        except BrokenImage as error:
            usable[row] = False
            report.broken[names[row]] = printable(str(error))
            continue
        report.transparent += opened.transparent
        report.unoriented += opened.unoriented
        _record_size(report, list(opened.size))
    rows = np.flatnonzero(usable)
    return (images if usable.all() else images[rows]), rows, report


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
