"""Images of the Hugging Face hub, downloaded or from local Parquet files."""

import io
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets.config import HubImages, image_shape
from fitnets.data.reading import decoding, downloads, encoded_image, shards
from fitnets.data.reading.decoding import Decoded
from fitnets.data.reading.encoded_image import BrokenImage, Opened
from fitnets.errors import ConfigError, near
from fitnets.paths import expanded
from fitnets.progress import Track
from fitnets.store import digests

UNLABELLED = -1
"""label of a row without one; the hub writes it too"""


def files(dataset: HubImages, split: str) -> list[Path]:
    """Local Parquet files of a split. Raises ConfigError unless they are all there, and whole."""
    given = expanded(str(dataset.path))
    return shards.of_split(given, split, dataset.subset, dataset.hub or dataset.name)


def identity(dataset: HubImages, split: str, root: Path | None) -> dict[str, Any]:
    """What tells the images of a split from others, without decoding them. root: of the store that remembers digests.

    Raises ConfigError if local files are missing."""
    if dataset.path is None and dataset.hub is None:
        raise ConfigError(
            f"dataset={dataset.name} is not on the Hugging Face hub: give dataset.path=DIR with its Parquet files "
            "(fitnets prepare aflw makes those of AFLW)"
        )
    if dataset.path is None:
        told: dict[str, Any] = {"hub": dataset.hub, "subset": dataset.subset, "revision": dataset.revision}
    else:
        try:
            told = {"files": [digests.of_file(file, root) for file in files(dataset, split)]}
        except OSError as error:
            raise ConfigError(
                f"dataset.path={dataset.path}: cannot read {error.filename} ({error.strerror})"
            ) from error
    told |= {"split": split, "columns": [dataset.image_column, dataset.label_column]}
    return told | ({"first_label": dataset.first_label} if dataset.first_label else {})


def row_count(dataset: HubImages, split: str) -> int | None:
    """The rows that the local Parquet files of a split state; None where they cannot be read. Nothing is decoded."""
    import pyarrow.parquet

    try:
        return sum(int(pyarrow.parquet.read_metadata(file).num_rows) for file in files(dataset, split))
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        if isinstance(error, ConfigError):
            raise
        return None


def class_names(dataset: HubImages, splits: list[str]) -> list[str] | None:
    """The class names in the local Parquet files of some splits, in the order of the labels; None where no file has
    them.

    Raises ConfigError where the files are missing, or two of them name the classes differently."""
    found: dict[Path, list[str]] = {}
    for split in splits:
        for file in files(dataset, split):
            names = class_label_names(file, dataset.label_column)
            if names is not None:
                found[file] = names
    if not found:
        return None
    first, names = next(iter(found.items()))
    for file, others in found.items():
        if others != names:
            raise ConfigError(
                f"dataset.path={dataset.path}: {first.name} names the classes {', '.join(names[:5])}, ... and "
                f"{file.name} {', '.join(others[:5])}, ...: equal labels would mean different classes: give files of "
                "one data set"
            )
    return names[dataset.first_label :]


def class_label_names(file: Path, column: str) -> list[str] | None:
    """The names in the Hugging Face metadata of a Parquet file; None where there are none that can be read."""
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(file).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (OSError, ValueError, KeyError, TypeError):  # decoding the file will say what is wrong with it
        return None
    return [str(name) for name in names] if isinstance(names, list) and names else None


def splits(dataset: HubImages) -> list[str]:
    """Names of the splits that are used."""
    named = [dataset.train_split, dataset.extra_split, dataset.validation_split, dataset.test_split]
    return [split for split in named if split]


def notes(dataset: HubImages) -> Iterator[str]:
    """Sentences for the plan: local Parquet files of unknown number, and those that no split uses."""
    if dataset.path is None:
        return
    used = {split: files(dataset, split) for split in splits(dataset)}
    for split, found in used.items():
        if not shards.is_numbered(found[0], split):
            names = ", ".join(file.name for file in found[:3]) + ", ..." * (len(found) > 3)
            yield f"{split}: {len(found)} files ({names}), whose names do not say how many there should be"
    folder = used[dataset.train_split][0].parent
    taken = {file for found in used.values() for file in found}
    unused = sorted(file.name for file in folder.glob("*.parquet") if file not in taken)
    if unused:
        names = ", ".join(unused[:3]) + ", ..." * (len(unused) > 3)
        yield f"left out: {len(unused)} Parquet files of other splits ({names})"


# --- rows ---


def decoded(dataset: HubImages, split: str, track: Track) -> Decoded:
    """The images of a split that can be decoded, and their labels; a missing label is -1. Broken rows are in the report
    alone. Raises ConfigError for columns and files that cannot be used at all."""
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        rows = _open(dataset, split, files(dataset, split) if dataset.path is not None else [], scratch)
        column = _image_column(dataset, split, rows.features)
        _check_label_column(dataset, split, rows.features)
        if len(rows) == 0:
            raise ConfigError(f"dataset={dataset.name}: the {split} split is empty in {dataset.path or dataset.hub}")
        encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        _check_size(dataset, split, encoded[0][column])
        images, usable, report = decoding.decode(
            [f"row {number} of {split}" for number in range(len(rows))],
            lambda number: _pixels(dataset, encoded[number][column]),
            image_shape(dataset),
            track,
            f"decoding {dataset.name} {split}",
        )
        return Decoded(images, _labels(dataset, split, rows)[usable], report)


def _labels(dataset: HubImages, split: str, rows: Any) -> NDArray[np.int64]:
    given = [UNLABELLED if label is None else label for label in rows[dataset.label_column]]
    try:
        values = [label if label == UNLABELLED else label - dataset.first_label for label in given]
        return np.asarray(values, dtype=np.int64)
    except OverflowError as error:
        raise ConfigError(
            f"dataset.label_column={dataset.label_column}: the {split} split has the label {max(given)}: "
            f"labels are 0 to {dataset.classes - 1}"
        ) from error


def _check_size(dataset: HubImages, split: str, encoded: Any) -> None:
    """Raises ConfigError if the first image has another size than the configuration says: then all of them have."""
    try:
        height, width = _opened(dataset, encoded).picture.size[::-1]
    except BrokenImage:
        return
    if (height, width) != (dataset.height, dataset.width):
        raise ConfigError(
            f"dataset={dataset.name}: image 0 of the {split} split is {height}x{width} and the configuration says "
            f"{dataset.height}x{dataset.width}: give dataset.height and dataset.width of these images"
        )


def _pixels(dataset: HubImages, encoded: Any) -> tuple[NDArray[np.uint8], Opened]:
    """(C, H, W) of one image."""
    opened = _opened(dataset, encoded)
    width, height = opened.picture.size
    if (height, width) != (dataset.height, dataset.width):
        raise BrokenImage(f"{height}x{width} pixels, and dataset.height and width are {dataset.height}x{dataset.width}")
    return encoded_image.pixels(opened.picture), opened


def _opened(dataset: HubImages, encoded: Any) -> Opened:
    """encoded: bytes of an image file or, where there are none, its path."""
    if encoded is None or (encoded["bytes"] is None and encoded["path"] is None):
        raise BrokenImage("it holds no image")
    if encoded["bytes"] is not None:
        return encoded_image.opened(encoded["bytes"], dataset.channels)
    if "://" not in encoded["path"]:
        return encoded_image.opened(Path(encoded["path"]), dataset.channels)
    return encoded_image.opened(_fetched(encoded), dataset.channels)


def _fetched(encoded: Any) -> bytes:
    """The bytes of an image at a URL, or in an archive."""
    import datasets

    file = io.BytesIO()
    try:
        datasets.Image().decode_example(encoded).save(file, "PNG")
    except Exception as error:
        raise BrokenImage(f"{encoded['path']}: {type(error).__name__}: {error}") from error
    return file.getvalue()


# --- columns ---


def _image_column(dataset: HubImages, split: str, features: dict[str, Any]) -> str:
    """The configured column, or the only one of encoded images. Raises ConfigError if there is no such column."""
    candidates = [
        name for name, feature in features.items() if _kind(feature).startswith(("Image", "binary", "struct"))
    ]
    column = dataset.image_column
    if column is None:
        if len(candidates) == 1:
            return candidates[0]
        found = f"several columns of images: {', '.join(candidates)}" if candidates else "no column of encoded images"
        raise ConfigError(f"dataset={dataset.name}: the {split} split has {found}: give dataset.image_column=...")
    _check_column("image_column", column, split, features)
    if column not in candidates:
        raise ConfigError(
            f"dataset.image_column={column}: the column holds {_kind(features[column])}, and encoded images are needed"
        )
    return column


def _check_label_column(dataset: HubImages, split: str, features: dict[str, Any]) -> None:
    column = dataset.label_column
    _check_column("label_column", column, split, features)
    whole = [name for name, feature in features.items() if _kind(feature).startswith(("ClassLabel", "int", "uint"))]
    if column not in whole and _kind(features[column]) != "null":
        way_out = (
            f"give dataset.label_column={whole[0]}" if len(whole) == 1 else "write labels from 0 into a new column"
        )
        others = f" (columns of whole numbers: {', '.join(whole)})" if len(whole) > 1 else ""
        raise ConfigError(
            f"dataset.label_column={column}: the column holds {_kind(features[column])}, and whole numbers are needed: "
            f"{way_out}{others}"
        )


def _check_column(key: str, column: str, split: str, features: dict[str, Any]) -> None:
    if column not in features:
        raise ConfigError(
            f"dataset.{key}={column}: no such column in the {split} split{near(column, list(features))} "
            f"(columns: {', '.join(features)})"
        )


def _kind(feature: Any) -> str:
    """'Image', 'ClassLabel', 'struct', or the type of a column's values."""
    if isinstance(feature, dict):
        return "struct"
    name = type(feature).__name__
    return name if name in ("Image", "ClassLabel") else str(getattr(feature, "dtype", name))


# --- tables ---


def _open(dataset: HubImages, split: str, found: list[Path], scratch: str) -> Any:
    """The split as a Hugging Face `datasets.Dataset`."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what it would log is in the exception
    hub_logging.set_verbosity(logging.ERROR)
    try:
        if found:
            return datasets.Dataset.from_parquet([str(file) for file in found], cache_dir=scratch)
        assert dataset.hub is not None, "identity refuses it"
        return downloads.load(dataset.hub, dataset.subset, revision=dataset.revision, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if found:
            raise ConfigError(f"dataset.path={dataset.path}: {_unreadable(found) or reason}") from error
        raise ConfigError(
            f"dataset={dataset.name}: cannot get {dataset.hub} from the Hugging Face hub ({reason})\n"
            f"without a network give dataset.path=DIR, a folder with {_patterns(dataset)} of that repository"
        ) from error


def _unreadable(found: list[Path]) -> str | None:
    """The first of some Parquet files that cannot be read, or fits not to those before it, with the reason."""
    import pyarrow
    import pyarrow.parquet

    columns: list[str] | None = None
    for file in found:
        try:
            names = sorted(pyarrow.parquet.read_table(file).column_names)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            return f"cannot read {file.name} ({reason}): download it again"
        if names != (columns or names):
            return f"{file.name} has columns {', '.join(names)}, and {found[0].name} {', '.join(columns or [])}"
        columns = names
    return None


def _patterns(dataset: HubImages) -> str:
    """'train-*.parquet, extra-*.parquet and test-*.parquet'."""
    *first, last = [f"{split}-*.parquet" for split in splits(dataset)]
    return f"{', '.join(first)} and {last}" if first else last
