"""The origin of images: scikit-learn's digits, the Hugging Face hub or its Parquet files, or a folder of images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fitnets.config import Dataset, Digits, Folder, HubImages, OwnImages
from fitnets.data.draws import proportional_draw
from fitnets.data.eight_bit import StoredRows
from fitnets.data.reading import folder, folder_layout, own, parquet
from fitnets.data.reading.decoding import BrokenImages, Decoded, Raw, Report
from fitnets.data.reading.examined import examine
from fitnets.data.reading.parquet import UNLABELLED
from fitnets.errors import ConfigError, printable
from fitnets.paths import expanded
from fitnets.progress import Progress, Track

SplitPart = Literal["train", "extra", "validation", "test", "all"]
"""all: every image of a folder, whatever its split"""


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of one part of a data set."""

    identity: dict[str, Any]
    """JSON values that distinguish the part from others without decoding it"""
    read: Callable[[Track, Path | None], Decoded]
    """decodes the part; broken images appear in the report only. The second argument is as for `decoding.decode`: the
    folder that gets the images if there are many"""
    version: int
    """a part of the hash: raised whenever the code makes other pixels or labels from the same files"""
    images_folder: Path | None = None
    """folder of the store that has the images already, among others; None: it has none"""
    earlier_version: int | None = None
    """an earlier version to use if it is in the store, because a new download may be impossible"""

    def decode(self, track: Track) -> Raw:
        """Images and labels without the broken ones."""
        return self.read(track, None).raw


def source(dataset: Dataset, part: SplitPart, root: Path | None = None, progress: Progress | None = None) -> Source:
    """The origin of a part of a data set. The first call for a folder decodes all its images, so that broken ones are
    reported before a split is drawn.

    root: folder of the store, which keeps file digests and decoded images; None: nothing is kept.
    progress: shows the decoding of a folder, and the reading of a user's own data set.

    Raises ConfigError if local files are missing."""
    match dataset:
        case Digits():
            identity = {"scikit-learn": "digits", "part": part, "test": dataset.test_images}
            return Source(identity, lambda _track, _folder: _decode_digits(dataset, part), version=1)
        case Folder():
            return _folder_source(dataset, part, root, progress)
        case OwnImages():
            track = _in_silence if progress is None else progress.track
            return Source(
                own.identity(dataset, part, track),
                lambda track, folder: own.decode(dataset, part, track, folder),
                version=1,
            )
        case HubImages():
            split = _split(dataset, part)
            identity = parquet.identity(dataset, split, root)
            return Source(
                identity,
                lambda track, folder: parquet.decode(dataset, split, track, folder),
                version=2,
                earlier_version=1 if dataset.path is None else None,
            )


def _in_silence(items: range, _title: str) -> range:
    return items


def _folder_source(dataset: Folder, part: SplitPart, root: Path | None, progress: Progress | None) -> Source:
    is_whole = part == "all"
    contents = folder.contents(dataset, may_lack_classes=is_whole)
    examined = examine(dataset, contents, root, progress)
    broken = examined.report.broken
    usable = [name for name in folder.all_images(contents) if printable(name) not in broken]
    names = usable if is_whole else folder.images_by_part(dataset, broken)[part]
    if not names:
        raise ConfigError(f"dataset.path={dataset.path}: the folder has no {part} images")
    return Source(
        folder.identity(dataset, names),
        lambda _track, _folder: examined.select(dataset, names),
        version=2,
        images_folder=examined.folder,
    )


def training_parts(dataset: Dataset) -> list[SplitPart]:
    """The parts with training images. Validation images are held out of them unless they are a part of their own."""
    has_extra = isinstance(dataset, HubImages) and dataset.extra_split is not None
    return ["train", "extra"] if has_extra else ["train"]


def has_validation_part(dataset: Dataset) -> bool:
    """True if the validation images are a part of their own."""
    match dataset:
        case OwnImages():
            return own.has_part(dataset, "validation")
        case HubImages():
            return dataset.validation_split is not None
        case _:
            return isinstance(dataset, Folder)


def used_parts(dataset: Dataset, *, test: bool = False) -> list[SplitPart]:
    """The parts for training and validation, followed by the test part if `test` is true."""
    parts = training_parts(dataset)
    if has_validation_part(dataset):
        parts.append("validation")
    return [*parts, "test"] if test else parts


def class_names(dataset: Dataset) -> list[str] | None:
    """The class names in the files of a data set, in the order of the labels; None if the files hold no names. A
    Parquet file may name more or fewer classes than `dataset.classes`.

    Raises ConfigError if files are missing, or if two files name the classes differently."""
    match dataset:
        case Digits():
            return [str(digit) for digit in range(dataset.classes)]
        case Folder():
            return folder.class_names(dataset)
        case OwnImages():
            return own.class_names(dataset)
        case HubImages(path=str()):
            return parquet.class_names(dataset, [_split(dataset, part) for part in present_parts(dataset)])
        case HubImages():
            return None


def row_count(dataset: HubImages, part: SplitPart) -> int | None:
    """The number of rows that the local Parquet files of a part state; None if a file cannot be read."""
    return parquet.row_count(dataset, _split(dataset, part))


def _split(dataset: HubImages, part: SplitPart) -> str:
    split: str | None = getattr(dataset, f"{part}_split")
    assert split is not None, f"{dataset.name} has no {part} split"
    return split


def present_parts(dataset: Dataset) -> list[SplitPart]:
    """The parts that have files. For a data set on the hub and for digits, these are all configured parts."""
    if isinstance(dataset, Folder):
        return ["all"]
    if isinstance(dataset, Digits):
        return ["train", "test"]
    if isinstance(dataset, OwnImages):
        parts: list[SplitPart] = ["train", "validation", "test"]
        return [part for part in parts if own.has_part(dataset, part)]
    configured: list[SplitPart] = ["train", "extra", "validation", "test"]
    used = [part for part in configured if getattr(dataset, f"{part}_split") is not None]
    if dataset.path is None:
        return used
    root = expanded(dataset.path)
    patterns = {part: f"{_split(dataset, part)}-*.parquet" for part in used}
    present = [part for part, pattern in patterns.items() if any(root.glob(pattern)) or any(root.glob(f"*/{pattern}"))]
    return present or used[:1]  # opening the first part then raises the error about missing files


def notes(dataset: Dataset, root: Path | None = None) -> Iterator[str]:
    """Yield sentences for the plan and for `fitnets doctor`: which files are used, which are left out, and how the
    images of a folder were changed. `splits.notes` adds how the images of Parquet files were changed."""
    match dataset:
        case Folder():
            contents = folder.contents(dataset)
            yield from folder_layout.notes(contents)
            yield from examine(dataset, contents, root).report.notes("images")
        case HubImages():
            yield from parquet.notes(dataset)
        case OwnImages():
            yield from own.notes(dataset)
        case Digits():
            return


def sizes(dataset: Folder, root: Path | None) -> tuple[str, str]:
    """Width and height in pixels of the smallest and of the largest image, such as '20x30'."""
    report = examine(dataset, folder.contents(dataset), root).report
    smallest, largest = ("x".join(map(str, size or [])) for size in (report.smallest, report.largest))
    return smallest, largest


def check_report(dataset: Dataset, report: Report) -> None:
    """Raise BrokenImages if a hub data set has broken images and `dataset.skip_broken` is false."""
    if report.broken and isinstance(dataset, HubImages) and not dataset.skip_broken:
        place = f"dataset.path={dataset.path}" if dataset.path else f"dataset={dataset.name}"
        raise BrokenImages(place, [report])


_WITHOUT_LABELS: dict[SplitPart, str] = {  # the way out for each part
    "test": "give dataset.test_split=null to run without test figures",
    "validation": "give dataset.validation_split=null dataset.validation_images=COUNT to hold out training images",
    "extra": "give dataset.extra_split=null dataset.extra_validation=0 to train without these images",
    "train": "give a dataset.label_column that has them",
    "all": "give images that have them",
}


def check_labels(dataset: Dataset, part: SplitPart, labels: NDArray[np.int64]) -> None:
    """Raise ConfigError with a fitting way out unless all labels are from 0 to classes - 1."""
    unlabelled = np.flatnonzero(labels == UNLABELLED)
    if len(unlabelled) == len(labels):
        raise ConfigError(
            f"dataset={dataset.name}: the {part} split has no labels (all are -1 or null): {_WITHOUT_LABELS[part]}"
        )
    if len(unlabelled):
        raise ConfigError(
            f"dataset={dataset.name}: {len(unlabelled)} of {len(labels)} rows of the {part} split have no label (-1 or "
            f"null), row {unlabelled[0]} the first: {_WITHOUT_LABELS[part]}"
        )
    distinct = np.unique(labels)
    low, high, classes = int(distinct[0]), int(distinct[-1]), dataset.classes
    if low >= 0 and high < classes:
        return
    first = dataset.first_label if isinstance(dataset, HubImages) else 0
    has_gaps = len(distinct) < high - low + 1
    if isinstance(dataset, OwnImages):
        way_out = "number the classes from 0 without gaps, or give dataset.classes=COUNT"
    elif low < 0:
        way_out = f"give dataset.first_label={first + low}"
    elif high == classes and low > 0:
        way_out = f"they count from {first + 1}: give dataset.first_label={first + 1}"
    elif len(distinct) == classes and not has_gaps:
        way_out = f"they count from {first + low}: give dataset.first_label={first + low}"
    elif has_gaps:
        shown = ", ".join(str(label + first) for label in distinct[:4]) + ", ..." * (len(distinct) > 4)
        way_out = (
            f"only {len(distinct)} numbers occur ({shown}): number the classes from 0 without gaps, or give "
            f"dataset.classes={high + 1}, most of them without images"
        )
    else:
        way_out = f"give dataset.classes={high + 1}"
    raise ConfigError(
        f"dataset.classes={classes} allows labels {first} to {first + classes - 1}, and the {part} split has "
        f"{first + low} to {first + high}: {way_out}"
    )


def _decode_digits(dataset: Digits, part: SplitPart) -> Decoded:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    if dataset.test_images >= len(labels):
        raise ConfigError(
            f"dataset.test_images={dataset.test_images}: digits has {len(labels)} images in all: give fewer than that"
        )
    is_test = proportional_draw(labels, dataset.test_images, seed=0)
    rows = np.flatnonzero(is_test if part == "test" else ~is_test)
    return Decoded(StoredRows(bunch.images[rows, None].astype(np.uint8)), labels[rows], Report(total=len(rows)))
