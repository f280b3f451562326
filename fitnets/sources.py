"""Where images come from: scikit-learn's digits, the Hugging Face hub or its Parquet files, folders of images."""

import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fitnets import digests, folder, hub, pictures
from fitnets.config import Dataset, Digits, Folder, HubImages, image_shape
from fitnets.labelled import Raw, Track, proportional_draw
from fitnets.options import ConfigError, near

Part = Literal["train", "extra", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Source:
    """One part of a data set. identity: what tells it from others, without decoding it."""

    identity: dict[str, Any]
    decode: Callable[[Track], Raw]


def source(dataset: Dataset, part: Part, root: Path | None = None) -> Source:
    """Raises ConfigError if local files are missing; nothing is decoded yet. root: of the store that remembers their
    digests."""
    match dataset:
        case Digits():
            identity = {"scikit-learn": "digits", "part": part, "test": dataset.test}
            return Source(identity, lambda _: _decode_digits(dataset, part))
        case Folder():
            files = folder.files(dataset)[part]
            return Source(folder.identity(dataset, files), lambda track: folder.decode(dataset, files, track))
        case HubImages():
            return _hub_source(dataset, part, root)


def training_parts(dataset: Dataset) -> list[Part]:
    """The parts that are trained on, once validation images are held out of them."""
    has_extra = isinstance(dataset, HubImages) and dataset.extra_split is not None
    return ["train", "extra"] if has_extra else ["train"]


def has_validation_part(dataset: Dataset) -> bool:
    """Whether validation images are a part of their own."""
    return isinstance(dataset, Folder) or (isinstance(dataset, HubImages) and dataset.validation_split is not None)


def _decode_digits(dataset: Digits, part: Part) -> Raw:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    if dataset.test >= len(labels):
        raise ConfigError(f"dataset.test={dataset.test}: digits has {len(labels)} images in all: give fewer than that")
    is_test = proportional_draw(labels, dataset.test, seed=0)
    rows = np.flatnonzero(is_test if part == "test" else ~is_test)
    return bunch.images[rows, None].astype(np.uint8), labels[rows]


def class_names(dataset: Dataset) -> list[str] | None:
    """In the order of the labels; None where nobody tells them."""
    match dataset:
        case Digits():
            return [str(digit) for digit in range(dataset.classes)]
        case Folder():
            return folder.class_names(dataset)
        case HubImages(path=str()):
            import pyarrow.parquet

            told = pyarrow.parquet.read_schema(_parquet(dataset, dataset.train_split)[0]).metadata or {}
            features = json.loads(told.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
            names: list[str] | None = features.get(dataset.label_column, {}).get("names")
            return names
        case _:
            return None


# --- hub ---


def row_count(dataset: HubImages, part: Part) -> int | None:
    """The rows that the local Parquet files of a part state; None where they cannot be read. Nothing is decoded."""
    import pyarrow.parquet

    files = _parquet(dataset, _split(dataset, part))
    try:
        return sum(int(pyarrow.parquet.read_metadata(file).num_rows) for file in files)
    except (OSError, ValueError):  # ArrowInvalid is a ValueError
        return None


def _hub_source(dataset: HubImages, part: Part, root: Path | None) -> Source:
    split = _split(dataset, part)
    if dataset.path is None and dataset.hub is None:
        raise ConfigError(
            f"dataset={dataset.name} is not on the Hugging Face hub: give dataset.path=DIR with its Parquet files "
            "(fitnets prepare aflw makes those of AFLW)"
        )
    if dataset.path is None:
        files: list[Path] = []
        identity: dict[str, Any] = {"hub": dataset.hub, "subset": dataset.subset, "revision": dataset.revision}
    else:
        files = _parquet(dataset, split)
        try:
            identity = {"files": [digests.of_file(file, root) for file in files]}
        except OSError as error:
            raise ConfigError(
                f"dataset.path={dataset.path}: cannot read {error.filename} ({error.strerror})"
            ) from error
    identity |= {"split": split, "columns": [dataset.image_column, dataset.label_column]}
    return Source(identity, lambda track: _decode_rows(dataset, split, files, track))


def _split(dataset: HubImages, part: Part) -> str:
    split: str | None = getattr(dataset, f"{part}_split")
    assert split is not None, f"{dataset.name} has no {part} split"
    return split


def _parquet(dataset: HubImages, split: str) -> list[Path]:
    """The split's files in the folder, in its sub-folder named like the subset, or in the one sub-folder that has them
    (as in a download of the repository)."""
    given, pattern = Path(str(dataset.path)).expanduser(), f"{split}-*.parquet"
    if not given.is_dir():
        raise ConfigError(f"dataset.path={dataset.path}: no such folder: give the one that holds {pattern}")
    place = given / dataset.subset if dataset.subset and (given / dataset.subset).is_dir() else given
    files = sorted(place.glob(pattern)) or sorted(place.glob(f"*/{pattern}"))
    if len({file.parent for file in files}) == 1:
        return files
    found = [str(file.relative_to(given)) for file in files] or sorted(entry.name for entry in given.iterdir())
    raise ConfigError(
        f"dataset.path={dataset.path}: need one folder with {pattern} and it holds "
        f"{', '.join(found[:4]) or 'nothing'}: give the folder with the Parquet files of {dataset.hub or dataset.name}"
    )


def _decode_rows(dataset: HubImages, split: str, files: list[Path], track: Track) -> Raw:
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        rows = _open(dataset, split, files, scratch)
        column = _image_column(dataset, split, rows.features)
        _check_label_column(dataset, split, rows.features)
        if len(rows) == 0:
            raise ConfigError(f"dataset={dataset.name}: the {split} split is empty in {dataset.path or dataset.hub}")
        rows = rows.cast_column(column, datasets.Image())
        images = np.empty((len(rows), *image_shape(dataset)), dtype=np.uint8)
        for number in track(range(len(rows)), f"decoding {dataset.name} {split}"):
            images[number] = _pixels(dataset, f"image {number} of the {split} split", rows, number, column)
        labels = rows[dataset.label_column][:]
        if None in labels:
            raise ConfigError(f"dataset={dataset.name}: image {labels.index(None)} of the {split} split has no label")
        return images, np.asarray(labels, dtype=np.int64)


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
    if not _kind(features[column]).startswith(("ClassLabel", "int", "uint")):
        raise ConfigError(
            f"dataset.label_column={column}: the column holds {_kind(features[column])}, and whole numbers are needed"
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


def _open(dataset: HubImages, split: str, files: list[Path], scratch: str) -> Any:
    """The split as a Hugging Face `datasets.Dataset`."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what it would log is in the exception
    hub_logging.set_verbosity(logging.ERROR)
    try:
        if files:
            return datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=scratch)
        assert dataset.hub is not None, "_hub_source refuses it"
        return hub.load(dataset.hub, dataset.subset, revision=dataset.revision, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if files:
            raise ConfigError(f"dataset.path={dataset.path}: cannot read {files[0].name}: {reason}") from error
        raise ConfigError(
            f"dataset={dataset.name}: cannot get {dataset.hub} from the Hugging Face hub ({reason})\n"
            f"without a network give dataset.path=DIR, a folder with {_patterns(dataset)} of that repository"
        ) from error


def _pixels(dataset: HubImages, where: str, rows: Any, number: int, column: str) -> NDArray[np.uint8]:
    """(C, H, W) of one image."""
    try:
        picture = pictures.in_8_bits(rows[number][column], dataset.channels)
    except (OSError, AttributeError, ValueError) as error:
        raise ConfigError(f"dataset={dataset.name}: {where} cannot be decoded ({error})") from error
    if (picture.height, picture.width) != (dataset.height, dataset.width):
        raise ConfigError(
            f"dataset={dataset.name}: {where} is {picture.height}x{picture.width} and the configuration says "
            f"{dataset.height}x{dataset.width}: give dataset.height and dataset.width of these images"
        )
    return pictures.pixels(picture)


def _patterns(dataset: HubImages) -> str:
    """'train-*.parquet, extra-*.parquet and test-*.parquet'."""
    splits = [dataset.train_split, dataset.extra_split, dataset.validation_split, dataset.test_split]
    *first, last = [f"{split}-*.parquet" for split in splits if split]
    return f"{', '.join(first)} and {last}" if first else last
