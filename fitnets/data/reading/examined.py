"""Decodes every image of a folder once, into the store, so that broken images are known before a split is drawn."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets.config import Folder, image_shape
from fitnets.config.options import content_hash
from fitnets.data.eight_bit import StoredRows
from fitnets.data.reading import folder
from fitnets.data.reading.decoding import BrokenImages, Decoded, Report
from fitnets.data.reading.folder_layout import Contents
from fitnets.errors import printable
from fitnets.progress import Progress
from fitnets.store import arrays, directories, files, locks

_VERSION = 1
"""a part of the hash: raise it whenever the code makes other pixels from the same files"""


@dataclass(frozen=True, slots=True)
class Examined:
    """The decoded images of a folder, without the broken ones."""

    report: Report
    """report on all images of the folder"""
    names: list[str]
    """printable path of each usable image"""
    images: StoredRows
    """in the order of `names`"""
    folder: Path | None
    """folder of the store that holds the images; None: they are in memory alone"""

    def select(self, dataset: Folder, names: list[str]) -> Decoded:
        """Some of the images with their labels. names: paths relative to the folder."""
        row_of = {name: row for row, name in enumerate(self.names)}
        label_of = {name: label for label, name in enumerate(folder.class_names(dataset))}
        rows = np.asarray([row_of[printable(name)] for name in names], dtype=np.int64)
        labels = np.asarray([label_of[folder.class_of(name)] for name in names], dtype=np.int64)
        return Decoded(replace(self.images, rows=rows), labels, Report(total=len(names)))


def examine(dataset: Folder, contents: Contents, root: Path | None, progress: Progress | None = None) -> Examined:
    """Decode all images of a folder, or map the images that were decoded before.

    root: folder of the store; None: nothing is stored.

    Raises BrokenImages if some images are broken and `dataset.skip_broken` is false. Nothing is stored then."""
    names = folder.all_images(contents)
    if root is None:
        return _decode(dataset, names, progress, None)
    key = content_hash("examined", _VERSION, [_stamp(contents.structure.root / name) for name in names], names)
    place = root / "data" / content_hash(key, *_stored_form(dataset))
    if not place.exists():
        with locks.locked(place, f"the decoded images of {dataset.path}", progress.say if progress else _say_nothing):
            if not place.exists():
                with directories.fill(place, resumable=True) as partial:
                    decoded = _decode(dataset, names, progress, partial)
                    stored = {"report": asdict(decoded.report), "names": decoded.names}
                    files.write_json(partial / "meta.json", stored)
    with files.advise_removal(place):
        meta = files.read_json(place / "meta.json")
    report = Report(**meta["report"])
    _check(dataset, report)
    return Examined(report, meta["names"], stored_rows(place, dataset.channels), place)


def stored_rows(place: Path, channels: int, rows: NDArray[np.int64] | None = None) -> StoredRows:
    """Map the images of a folder from the store.

    place: the folder of the store that holds them.
    rows: some of them; None: all. Raises DamagedError with the way out."""
    path = place / "sizes.npy"
    sizes = arrays.mapped_array(path, "r") if path.exists() else None
    return StoredRows(arrays.mapped_array(place / "images.npy", "r"), rows, sizes, channels)


def _stored_form(dataset: Folder) -> list[Any]:
    """Return what determines the stored pixels beside the files. Earlier versions had the shape of the images alone."""
    form = folder.stored_form(dataset)
    return [dataset.channels, form] if form else [image_shape(dataset)]


def _decode(dataset: Folder, names: list[str], progress: Progress | None, place: Path | None) -> Examined:
    decoded = folder.decode(dataset, names, progress.track if progress else lambda items, _: items, place)
    _check(dataset, decoded.report)
    shown = [printable(name) for name in names]
    usable = [name for name in shown if name not in decoded.report.broken]
    return Examined(decoded.report, usable, decoded.images, place)


def _check(dataset: Folder, report: Report) -> None:
    if report.broken and not dataset.skip_broken:
        raise BrokenImages(f"dataset.path={dataset.path}", [report])


def _stamp(path: Path) -> list[int]:
    """Numbers that change whenever the file, its permissions or the target of a link change."""
    try:
        stat = os.stat(path)
    except OSError as error:
        return [error.errno or 0]
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode]


def _say_nothing(_text: str) -> None: ...
