"""Every image of a folder is decoded once, into the store, before its split is drawn: broken ones are known by then."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fitnets.config import Folder, image_shape
from fitnets.config.options import content_hash
from fitnets.data.reading import folder
from fitnets.data.reading.decoding import BrokenImages, Decoded, Report
from fitnets.data.reading.folder_layout import Contents
from fitnets.errors import printable
from fitnets.progress import Progress
from fitnets.store import directories, files, layout, locks
from fitnets.store.layout import StoreLayout

_EXAMINING = 1  # one more with every change of what the code makes of the same images


@dataclass(frozen=True, slots=True)
class Examined:
    """report: on all images of the folder; names: printable, of those that can be used, in the order of the images."""

    report: Report
    names: list[str]
    images: NDArray[np.uint8]

    def chosen(self, dataset: Folder, names: list[str]) -> Decoded:
        """Some of the images, with the numbers of their classes."""
        row_of = {name: row for row, name in enumerate(self.names)}
        number_of = {name: number for number, name in enumerate(folder.class_names(dataset))}
        rows = [row_of[printable(name)] for name in names]
        labels = np.asarray([number_of[folder.class_of(name)] for name in names], dtype=np.int64)
        return Decoded(self.images[rows], labels, Report(total=len(names)))


def examine(dataset: Folder, found: Contents, root: Path | None, progress: Progress | None = None) -> Examined:
    """Decode all images, or read what was made of them before. root: of the store; None: nothing is kept.

    Raises BrokenImages where some cannot be used and are not to be skipped; nothing is kept then."""
    names = folder.images(found)
    if root is None:
        return _examine(dataset, names, progress)
    key = content_hash("examined", _EXAMINING, [_stamp(found.structure.root / name) for name in names], names)
    place = StoreLayout(root).data(content_hash(key, image_shape(dataset)))
    if not place.exists():
        with locks.locked(place, f"the decoded images of {dataset.path}", progress.say if progress else _in_silence):
            if not place.exists():
                _keep(_examine(dataset, names, progress), place)
    with files.made_again(place):
        kept = files.read_json(place / layout.META)
    report = Report(**kept["report"])
    _check(dataset, report)
    return Examined(report, kept["names"], np.load(place / layout.IMAGES, mmap_mode="r"))


def _examine(dataset: Folder, names: list[str], progress: Progress | None) -> Examined:
    made = folder.decoded(dataset, names, progress.track if progress else lambda items, _: items)
    _check(dataset, made.report)
    shown = [printable(name) for name in names]
    return Examined(made.report, [name for name in shown if name not in made.report.broken], made.images)


def _check(dataset: Folder, report: Report) -> None:
    if report.broken and not dataset.skip_broken:
        raise BrokenImages(f"dataset.path={dataset.path}", [report])


def _keep(made: Examined, place: Path) -> None:
    with directories.fill(place) as partial:
        np.save(partial / layout.IMAGES, made.images)
        files.write_json(partial / layout.META, {"report": asdict(made.report), "names": made.names})


def _stamp(path: Path) -> list[int]:
    """What changes whenever a file does, its permissions and the target of a link included."""
    try:
        stat = os.stat(path)
    except OSError as error:
        return [error.errno or 0]
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode]


def _in_silence(_text: str) -> None: ...
