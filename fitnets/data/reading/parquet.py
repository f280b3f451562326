"""Reads images of the Hugging Face hub, downloaded or from local Parquet files."""

import io
import json
import logging
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets.config import HubImages, image_shape
from fitnets.data.eight_bit import StoredRows
from fitnets.data.reading import decoding, downloads, encoded_image, shards
from fitnets.data.reading.decoding import Decoded
from fitnets.data.reading.encoded_image import BrokenImage, OpenedImage
from fitnets.errors import ConfigError, suggest
from fitnets.paths import expanded
from fitnets.progress import Track
from fitnets.store import digests

UNLABELLED = -1
"""label of a row without a label; the hub uses the same value"""


def files(dataset: HubImages, split: str) -> list[Path]:
    """The local Parquet files of a split. Raises ConfigError if one is missing or damaged."""
    return shards.of_split(expanded(str(dataset.path)), split, dataset.subset, dataset.hub or dataset.name)


def identity(dataset: HubImages, split: str, root: Path | None) -> dict[str, Any]:
    """JSON values that distinguish the images of a split from others without decoding them.

    root: folder of the store, which keeps file digests; None: nothing is kept.

    Raises ConfigError if local files are missing."""
    if dataset.path is None and dataset.hub is None:
        raise ConfigError(
            f"dataset={dataset.name} is not on the Hugging Face hub: give dataset.path=DIR with its Parquet files "
            "(fitnets prepare aflw makes those of AFLW)"
        )
    if dataset.path is None:
        values: dict[str, Any] = {"hub": dataset.hub, "subset": dataset.subset, "revision": dataset.revision}
    else:
        try:
            values = {"files": [digests.of_file(file, root) for file in files(dataset, split)]}
        except OSError as error:
            raise ConfigError(
                f"dataset.path={dataset.path}: cannot read {error.filename} ({error.strerror})"
            ) from error
    values |= {"split": split, "columns": [dataset.image_column, dataset.label_column]}
    return values | ({"first_label": dataset.first_label} if dataset.first_label else {})


def row_count(dataset: HubImages, split: str) -> int | None:
    """The number of rows that the local Parquet files of a split state; None if a file cannot be read."""
    import pyarrow.parquet

    try:
        return sum(int(pyarrow.parquet.read_metadata(file).num_rows) for file in files(dataset, split))
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        if isinstance(error, ConfigError):
            raise
        return None


def class_names(dataset: HubImages, splits: list[str]) -> list[str] | None:
    """The class names in the local Parquet files of some splits, in label order; None if no file has names.

    Raises ConfigError if files are missing, or if two files name the classes differently."""
    names_by_file: dict[Path, list[str]] = {}
    for split in splits:
        for file in files(dataset, split):
            names = class_label_names(file, dataset.label_column)
            if names is not None:
                names_by_file[file] = names
    if not names_by_file:
        return None
    first, names = next(iter(names_by_file.items()))
    for file, others in names_by_file.items():
        if others != names:
            raise ConfigError(
                f"dataset.path={dataset.path}: {first.name} names the classes {', '.join(names[:5])}, ... and "
                f"{file.name} {', '.join(others[:5])}, ...: equal labels would mean different classes: give files of "
                "one data set"
            )
    return names[dataset.first_label :]


def class_label_names(file: Path, column: str) -> list[str] | None:
    """The class names in the Hugging Face metadata of a Parquet file; None if there are none that can be read."""
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_schema(file).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (OSError, ValueError, KeyError, TypeError):  # decoding the file reports what is wrong with it
        return None
    return [str(name) for name in names] if isinstance(names, list) and names else None


def splits(dataset: HubImages) -> list[str]:
    """The names of the configured splits."""
    names = [dataset.train_split, dataset.extra_split, dataset.validation_split, dataset.test_split]
    return [name for name in names if name]


def notes(dataset: HubImages) -> Iterator[str]:
    """Yield sentences for the plan about unnumbered local Parquet files, and about files that no split uses."""
    if dataset.path is None:
        return
    files_by_split = {split: files(dataset, split) for split in splits(dataset)}
    for split, split_files in files_by_split.items():
        if not shards.is_numbered(split_files[0], split):
            names = ", ".join(file.name for file in split_files[:3]) + ", ..." * (len(split_files) > 3)
            yield f"{split}: {len(split_files)} files ({names}), whose names do not say how many there should be"
    folder = files_by_split[dataset.train_split][0].parent
    used = {file for split_files in files_by_split.values() for file in split_files}
    unused = sorted(file.name for file in folder.glob("*.parquet") if file not in used)
    if unused:
        names = ", ".join(unused[:3]) + ", ..." * (len(unused) > 3)
        yield f"left out: {len(unused)} Parquet files of other splits ({names})"


# --- rows ---


def decode(dataset: HubImages, split: str, track: Track, folder: Path | None) -> Decoded:
    """Decode the images of a split, with their labels. A missing label is -1. Broken images appear in the report only.

    folder: see `decoding.decode`.

    Raises ConfigError if a column or a file cannot be used at all."""
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        rows = _open(dataset, split, files(dataset, split) if dataset.path is not None else [], scratch)
        column = _image_column(dataset, split, rows.features)
        _check_label_column(dataset, split, rows.features)
        if len(rows) == 0:
            raise ConfigError(f"dataset={dataset.name}: the {split} split is empty in {dataset.path or dataset.hub}")
        encoded = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        _check_size(dataset, split, encoded[0][column])
        (images, _), usable, report = decoding.decode(
            [f"row {number} of {split}" for number in range(len(rows))],
            lambda number: encoded[number][column],
            partial(_pixels, dataset),
            image_shape(dataset),
            track=track,
            title=f"decoding {dataset.name} {split}",
            folder=folder,
        )
        return Decoded(StoredRows(images), _labels(dataset, split, rows)[usable], report)


def _labels(dataset: HubImages, split: str, rows: Any) -> NDArray[np.int64]:
    stored = [UNLABELLED if label is None else label for label in rows[dataset.label_column]]
    try:
        labels = [label if label == UNLABELLED else label - dataset.first_label for label in stored]
        return np.asarray(labels, dtype=np.int64)
    except OverflowError as error:
        raise ConfigError(
            f"dataset.label_column={dataset.label_column}: the {split} split has the label {max(stored)}: "
            f"labels are 0 to {dataset.classes - 1}"
        ) from error


def _check_size(dataset: HubImages, split: str, encoded: Any) -> None:
    """Raise ConfigError if the first image has another size than configured, as all images then probably have."""
    try:
        with encoded_image.without_warnings():
            height, width = _decoded_image(dataset, encoded).picture.size[::-1]
    except BrokenImage:
        return
    if (height, width) != (dataset.height, dataset.width):
        raise ConfigError(
            f"dataset={dataset.name}: image 0 of the {split} split is {height}x{width} and the configuration says "
            f"{dataset.height}x{dataset.width}: give dataset.height and dataset.width of these images"
        )


def _pixels(dataset: HubImages, encoded: Any) -> tuple[NDArray[np.uint8], OpenedImage]:
    opened = _decoded_image(dataset, encoded)
    width, height = opened.picture.size
    if (height, width) != (dataset.height, dataset.width):
        raise BrokenImage(f"{height}x{width} pixels, and dataset.height and width are {dataset.height}x{dataset.width}")
    return encoded_image.pixels(opened.picture), opened


def _decoded_image(dataset: HubImages, encoded: Any) -> OpenedImage:
    """Decode an image. encoded: a table with the bytes of an image file or, without bytes, its path."""
    if encoded is None or (encoded["bytes"] is None and encoded["path"] is None):
        raise BrokenImage("it holds no image")
    if encoded["bytes"] is not None:
        return encoded_image.open_image(encoded["bytes"], dataset.channels)
    if "://" not in encoded["path"]:
        return encoded_image.open_image(Path(encoded["path"]), dataset.channels)
    return encoded_image.open_image(_fetched(encoded), dataset.channels)


def _fetched(encoded: Any) -> bytes:
    """The bytes of an image at a URL or in an archive."""
    import datasets

    file = io.BytesIO()
    try:
        datasets.Image().decode_example(encoded).save(file, "PNG")
    except Exception as error:
        raise BrokenImage(f"{encoded['path']}: {type(error).__name__}: {error}") from error
    return file.getvalue()


# --- columns ---


def _image_column(dataset: HubImages, split: str, features: dict[str, Any]) -> str:
    """The configured column, or else the only column of encoded images. Raises ConfigError if there is none."""
    candidates = [
        name for name, feature in features.items() if _kind(feature).startswith(("Image", "binary", "struct"))
    ]
    column = dataset.image_column
    if column is None:
        if len(candidates) == 1:
            return candidates[0]
        problem = f"several columns of images: {', '.join(candidates)}" if candidates else "no column of encoded images"
        raise ConfigError(f"dataset={dataset.name}: the {split} split has {problem}: give dataset.image_column=...")
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
            f"dataset.{key}={column}: no such column in the {split} split{suggest(column, list(features))} "
            f"(columns: {', '.join(features)})"
        )


def _kind(feature: Any) -> str:
    """The kind of a column: 'Image', 'ClassLabel', 'struct', or the type of its values."""
    if isinstance(feature, dict):
        return "struct"
    name = type(feature).__name__
    return name if name in ("Image", "ClassLabel") else str(getattr(feature, "dtype", name))


# --- tables ---


def _open(dataset: HubImages, split: str, local_files: list[Path], scratch: str) -> Any:
    """The split as a Hugging Face `datasets.Dataset`.

    local_files: Parquet files; empty: the split is downloaded.
    scratch: folder for temporary files."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # the exception has the same text
    hub_logging.set_verbosity(logging.ERROR)
    try:
        if local_files:
            return datasets.Dataset.from_parquet([str(file) for file in local_files], cache_dir=scratch)
        assert dataset.hub is not None, "identity refuses it"
        return downloads.load(dataset.hub, dataset.subset, revision=dataset.revision, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if local_files:
            raise ConfigError(f"dataset.path={dataset.path}: {_first_problem(local_files) or reason}") from error
        raise ConfigError(
            f"dataset={dataset.name}: cannot get {dataset.hub} from the Hugging Face hub ({reason})\n"
            f"without a network give dataset.path=DIR, a folder with {_patterns(dataset)} of that repository"
        ) from error


def _first_problem(files: list[Path]) -> str | None:
    """The first Parquet file that cannot be read or has other columns than the files before it, with the reason."""
    import pyarrow
    import pyarrow.parquet

    columns: list[str] | None = None
    for file in files:
        try:
            names = sorted(pyarrow.parquet.read_table(file).column_names)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            return f"cannot read {file.name} ({reason}): download it again"
        if names != (columns or names):
            return (
                f"{file.name} has columns {', '.join(names)}, and {files[0].name} {', '.join(columns or [])}: "
                "give files with equal columns"
            )
        columns = names
    return None


def _patterns(dataset: HubImages) -> str:
    """The file names of all splits, as 'train-*.parquet, extra-*.parquet and test-*.parquet'."""
    *first, last = [f"{split}-*.parquet" for split in splits(dataset)]
    return f"{', '.join(first)} and {last}" if first else last
