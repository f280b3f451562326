"""The one loop through which every image file and every row of a table is decoded, and the report of what it met."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets.data.draws import Raw
from fitnets.data.reading.encoded_image import BACKGROUND, BrokenImage
from fitnets.errors import ConfigError, printable
from fitnets.progress import Track

_LISTED = 20


@dataclass(slots=True, kw_only=True)
class Report:
    """What decoding some images came to."""

    total: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    """name of an image that cannot be used: reason"""
    transparent: int = 0
    """images with transparent pixels, laid on the background"""
    unoriented: int = 0
    """images whose EXIF block cannot be read"""
    smallest: list[int] | None = None
    """width and height, as encoded, of the image with the fewest pixels"""
    largest: list[int] | None = None

    def notes(self, where: str) -> Iterator[str]:
        """Sentences for the plan. where: what these images are, such as 'train'."""
        if self.transparent:
            yield f"{where}: {self.transparent} of {self.total} images are transparent: laid on {BACKGROUND}"
        if self.unoriented:
            yield (
                f"{where}: {self.unoriented} of {self.total} images have an EXIF block that cannot be read: taken as "
                "they lie in the file, not turned"
            )
        if self.broken:
            yield (
                f"{where}: {len(self.broken)} of {self.total} images cannot be used and are left out "
                f"(dataset.skip_broken=true): {listed(self.broken)}"
            )


@dataclass(frozen=True, slots=True)
class Decoded:
    """Images that can be used and their labels. report: what was met on the way."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    report: Report

    @property
    def raw(self) -> Raw:
        return self.images, self.labels


class BrokenImages(ConfigError):
    """Images that cannot be used.

    place: the key and value that say where they are; reports: what was met, one for each part."""

    def __init__(self, place: str, reports: Sequence[Report]):
        self.place = place
        self.reports = list(reports)
        broken = {name: reason for report in reports for name, reason in report.broken.items()}
        total = sum(report.total for report in reports)
        super().__init__(
            f"{place}: {len(broken)} of {total} images cannot be used: {listed(broken)}: mend or replace them, or give "
            "dataset.skip_broken=true to leave them out"
        )


def together(errors: Sequence[BrokenImages]) -> BrokenImages:
    """The same broken images, in one error."""
    return BrokenImages(errors[0].place, [report for error in errors for report in error.reports])


def decode(
    names: Sequence[str],
    read: Callable[[int], tuple[NDArray[np.uint8], Any]],
    shape: tuple[int, int, int],
    track: Track,
    title: str,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], Report]:
    """Decode every image. Gives (images (N, C, H, W), rows that they come from (N,), report); broken ones are in the
    report alone.

    names: of the images, for the report; read: pixels (C, H, W) and `pictures.Opened` of a row; shape: (C, H, W)."""
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
        _keep_sizes(report, list(opened.size))
    rows = np.flatnonzero(usable)
    return (images if usable.all() else images[rows]), rows, report


def _keep_sizes(report: Report, size: list[int]) -> None:
    pixels = size[0] * size[1]
    if report.smallest is None or pixels < report.smallest[0] * report.smallest[1]:
        report.smallest = size
    if report.largest is None or pixels > report.largest[0] * report.largest[1]:
        report.largest = size


def listed(broken: dict[str, str]) -> str:
    """'a.png (it is empty); b.png (...); and 3 more'."""
    shown = [f"{name} ({reason})" for name, reason in list(broken.items())[:_LISTED]]
    return "; ".join(shown + [f"and {len(broken) - _LISTED} more"] * (len(broken) > _LISTED))
