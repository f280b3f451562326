"""Images and labels: decoded and scaled once into a memory-mapped cache, split by a fixed rule, batched by row."""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitnets import store
from fitnets.config import Dataset, Digits, HubImages
from fitnets.options import ConfigError, content_hash, near
from fitnets.seeds import seed_of

SplitName = Literal["train", "test"]
Track = Callable[[range, str], Iterable[int]]
"""Shows the progress through a range under a title"""
Raw = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""images (N, C, H, W) as decoded, labels (N,)"""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a set that stays where it is. images: (all rows, C, H, W) float32; labels: (all rows,); rows: (N,)."""

    images: Tensor
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[rows], self.labels[rows]

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Row numbers of an epoch's batches: a function of the seed; the last incomplete batch is dropped."""
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(seed))
        shuffled = self.rows[order.to(self.rows.device)]
        return iter(torch.split(shuffled[: len(shuffled) // batch_size * batch_size], batch_size))

    def ordered(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows once, in order."""
        return map(self.batch, torch.split(self.rows, batch_size))


@dataclass(frozen=True, slots=True)
class Data:
    """What training and selection may see, and the digest of the decoded images and labels."""

    train: Split
    valid: Split
    digest: str


def load(dataset: Dataset, root: Path, device: torch.device, track: Track) -> Data:
    """The training part, split into train and validation. The test split is not touched."""
    images, labels, digest = _cached(dataset, "train", root, track)
    train, valid = split(labels, dataset)
    images, labels = images.to(device), labels.to(device)
    return Data(Split(images, labels, train.to(device)), Split(images, labels, valid.to(device)), digest)


def check_files(dataset: Dataset, *, test: bool) -> None:
    """Raises ConfigError if local files are missing; none is opened. test: whether the test split is needed."""
    if isinstance(dataset, HubImages) and dataset.path is not None:
        _parquet(dataset, "train")
        if test:
            _parquet(dataset, "test")


def load_test(dataset: Dataset, root: Path, device: torch.device, track: Track) -> Split:
    """The test split, decoded the first time that it is asked for."""
    images, labels, _ = _cached(dataset, "test", root, track)
    return Split(images.to(device), labels.to(device), torch.arange(len(labels), device=device))


def split(labels: Tensor, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Row numbers (train, validation), both ascending."""
    count = dataset.validation
    if count >= len(labels):
        raise ConfigError(
            f"dataset.validation={count} leaves no image to train on: {dataset.name} has {len(labels)} in its train "
            f"split: give fewer than {len(labels)}"
        )
    if isinstance(dataset, HubImages) and dataset.validation_rule == "last":
        return torch.arange(len(labels) - count), torch.arange(len(labels) - count, len(labels))
    held_out = _even_draw(labels.numpy(), count, seed_of("validation", dataset.seed))
    return torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))


def _even_draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.bool_]:
    """A mask of `count` random rows, each class giving its share."""
    position = np.empty(len(labels))
    generator = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        position[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    mask = np.zeros(len(labels), dtype=bool)
    mask[np.argsort(position, kind="stable")[:count]] = True
    return mask


# --- cache ---


def _cached(dataset: Dataset, name: SplitName, root: Path, track: Track) -> tuple[Tensor, Tensor, str]:
    """(images, labels, digest) of one split, mapped from the cache; decoded into it when they are not there yet."""
    source, decode = _source(dataset, name)
    shape = (dataset.channels, dataset.height, dataset.width)
    folder = root / "data" / content_hash(source, shape, dataset.classes, dataset.pixel_max)
    if not folder.exists():
        images, labels = decode(track)
        _check(dataset, name, images, labels)
        with store.directory(folder) as partial:
            np.save(partial / "images.npy", images.astype(np.float32) / np.float32(dataset.pixel_max))
            np.save(partial / "labels.npy", labels)
            digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
            store.write_json(partial / "meta.json", {"source": source, "images": len(images), "sha256": digest})
    images, labels = (_mapped(folder / f"{part}.npy") for part in ("images", "labels"))
    return torch.from_numpy(images), torch.from_numpy(labels), store.read_json(folder / "meta.json")["sha256"]


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="c")  # copy on write: PyTorch wants it writable, the file stays as is
    return array


def _check(dataset: Dataset, name: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= dataset.classes:
        raise ConfigError(
            f"dataset.classes={dataset.classes} allows labels 0 to {dataset.classes - 1}, and the {name} split has "
            f"{low} to {high}: give dataset.classes={high + 1}"
        )
    assert images.shape == (len(labels), dataset.channels, dataset.height, dataset.width)


# --- sources ---


def _source(dataset: Dataset, name: SplitName) -> tuple[dict[str, Any], Callable[[Track], Raw]]:
    """What identifies one split, and how to decode it."""
    match dataset:
        case Digits():
            return {"scikit-learn": "digits", "split": name, "test": dataset.test}, lambda _: _decode_digits(
                dataset, name
            )
        case HubImages(path=None):
            source: dict[str, Any] = {"hub": dataset.hub, "revision": dataset.revision}
            files: list[Path] = []
        case HubImages():
            files = _parquet(dataset, name)
            source = {"files": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]}
    columns = [dataset.image_column, dataset.label_column]
    identity = source | {"split": _split_of(dataset, name), "columns": columns}
    return identity, lambda track: _decode_rows(dataset, name, files, track)


def _split_of(dataset: HubImages, name: SplitName) -> str:
    return dataset.train_split if name == "train" else dataset.test_split


def _decode_digits(dataset: Digits, name: SplitName) -> Raw:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    if dataset.test >= len(labels):
        raise ConfigError(f"dataset.test={dataset.test}: digits has {len(labels)} images in all: give fewer than that")
    is_test = _even_draw(labels, dataset.test, seed=0)
    rows = np.flatnonzero(is_test if name == "test" else ~is_test)
    return bunch.images[rows, None].astype(np.uint8), labels[rows]


def _parquet(dataset: HubImages, name: SplitName) -> list[Path]:
    """The split's files in the folder, or in its one sub-folder that has them (as in a download of the repository)."""
    folder, pattern = Path(str(dataset.path)).expanduser(), f"{_split_of(dataset, name)}-*.parquet"
    if not folder.is_dir():
        raise ConfigError(f"dataset.path={dataset.path}: no such folder: give the one that holds {pattern}")
    files = sorted(folder.glob(pattern)) or sorted(folder.glob(f"*/{pattern}"))
    if len({file.parent for file in files}) == 1:
        return files
    found = [str(file.relative_to(folder)) for file in files] or sorted(entry.name for entry in folder.iterdir())
    raise ConfigError(
        f"dataset.path={dataset.path}: need one folder with {pattern} and it holds "
        f"{', '.join(found[:4]) or 'nothing'}: give the folder with the Parquet files of {dataset.hub}"
    )


def _decode_rows(dataset: HubImages, name: SplitName, files: list[Path], track: Track) -> Raw:
    import datasets

    with tempfile.TemporaryDirectory() as scratch:
        rows = _open(dataset, name, files, scratch)
        _check_columns(dataset, name, rows.features)
        if len(rows) == 0:
            raise ConfigError(f"dataset={dataset.name}: the {name} split is empty in {dataset.path or dataset.hub}")
        rows = rows.cast_column(dataset.image_column, datasets.Image())
        images = np.empty((len(rows), dataset.channels, dataset.height, dataset.width), dtype=np.uint8)
        for number in track(range(len(rows)), f"decoding {dataset.name} {name}"):
            images[number] = _pixels(dataset, f"image {number} of the {name} split", rows, number)
        labels = rows[dataset.label_column][:]
        if None in labels:
            raise ConfigError(f"dataset={dataset.name}: image {labels.index(None)} of the {name} split has no label")
        return images, np.asarray(labels, dtype=np.int64)


def _check_columns(dataset: HubImages, name: str, features: dict[str, Any]) -> None:
    """Raises ConfigError unless there are a column of encoded images and one of whole numbers."""
    for key, kinds in (
        ("image_column", ("Image", "binary", "struct")),
        ("label_column", ("ClassLabel", "int", "uint")),
    ):
        column = getattr(dataset, key)
        if column not in features:
            raise ConfigError(
                f"dataset.{key}={column}: no such column in the {name} split{near(column, list(features))} "
                f"(columns: {', '.join(features)})"
            )
        feature = features[column]
        kind = "struct" if isinstance(feature, dict) else str(getattr(feature, "dtype", type(feature).__name__))
        if not (type(feature).__name__ in kinds or kind.startswith(kinds)):
            wanted = "encoded images" if key == "image_column" else "whole numbers"
            raise ConfigError(f"dataset.{key}={column}: the column holds {kind}, and {wanted} are needed")


def _open(dataset: HubImages, name: SplitName, files: list[Path], scratch: str) -> Any:
    """The split as a Hugging Face `datasets.Dataset`."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what it would log is in the exception
    hub_logging.set_verbosity(logging.ERROR)
    try:
        if files:
            return datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=scratch)
        return datasets.load_dataset(dataset.hub, revision=dataset.revision, split=_split_of(dataset, name))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if files:
            raise ConfigError(f"dataset.path={dataset.path}: cannot read {files[0].name}: {reason}") from error
        raise ConfigError(
            f"dataset={dataset.name}: cannot get {dataset.hub} from the Hugging Face hub ({reason})\n"
            f"without a network give dataset.path=DIR, a folder with {dataset.train_split}-*.parquet and "
            f"{dataset.test_split}-*.parquet of that repository"
        ) from error


def _pixels(dataset: HubImages, where: str, rows: Any, number: int) -> NDArray[np.uint8]:
    """(C, H, W) of one image."""
    try:
        picture = rows[number][dataset.image_column]
        pixels = np.asarray(picture.convert("L" if dataset.channels == 1 else "RGB"))
    except (OSError, AttributeError) as error:
        raise ConfigError(f"dataset={dataset.name}: {where} cannot be decoded ({error})") from error
    if pixels.shape[:2] != (dataset.height, dataset.width):
        raise ConfigError(
            f"dataset={dataset.name}: {where} is {pixels.shape[0]}x{pixels.shape[1]} and the configuration says "
            f"{dataset.height}x{dataset.width}: give dataset.height and dataset.width of these images"
        )
    return pixels[None] if dataset.channels == 1 else pixels.transpose(2, 0, 1)
