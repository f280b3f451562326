"""Reads data sets of the user's own: a function that returns map-style data sets of (image, label)."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fitnets.config import OwnImages, image_shape
from fitnets.data.eight_bit import StoredRows
from fitnets.data.reading import encoded_image
from fitnets.data.reading.decoding import Decoded, Report
from fitnets.data.reading.pixel_file import PixelFile
from fitnets.errors import ConfigError
from fitnets.progress import Track
from fitnets.store import files
from fitnets.system import imports

_READ_TWICE = 16
"""items that are read a second time, to see that a data set gives the same image for the same number"""


@dataclass(frozen=True, slots=True)
class Description:
    """Describes the images of a training set."""

    channels: int
    height: int
    width: int
    classes: int | None
    """None if the data set has no attribute `classes`"""


def describe(target: str, arguments: Any) -> Description:
    """Describe the training images from the first one. Raises ConfigError if the data set cannot be used."""
    data = _made(target, _as_json(arguments), "train")
    image, _ = _item(data, 0, target, "train")
    pixels = _pixels(image, target, 0, "train")
    names = _class_names(data)
    channels, height, width = pixels.shape
    return Description(channels, height, width, None if names is None else len(names))


def has_part(dataset: OwnImages, part: str) -> bool:
    """Return whether the user's function gives a data set for a split. Raises ConfigError if it fails."""
    return part == "train" or _made(dataset.target, _as_json(dataset.args), part) is not None


def class_names(dataset: OwnImages) -> list[str] | None:
    """The names of the training set's classes; None if it has none."""
    return _class_names(_made(dataset.target, _as_json(dataset.args), "train"))


def image_count(dataset: OwnImages, part: str) -> int:
    """The number of images of a split."""
    return len(_made(dataset.target, _as_json(dataset.args), part))


def notes(dataset: OwnImages) -> Iterator[str]:
    """Yield a sentence if the validation images are drawn. The plan itself says so if there is no test split."""
    if not has_part(dataset, "validation"):
        yield (
            f"{dataset.target} has no validation set: {100 * dataset.validation_share:g} % of each class of the "
            "training images are held out (dataset.validation_share)"
        )


def identity(dataset: OwnImages, part: str, track: Track) -> dict[str, Any]:
    """JSON values that distinguish the images: the hash of all of them. The whole split is read, because nobody but the
    user's function knows whether its images have changed; with `dataset.version` the user says so, and nothing is
    read."""
    if dataset.version is not None:
        facts = {"own images": dataset.version, "target": dataset.target, "args": dataset.args, "part": part}
        return facts | {"channels": dataset.channels}
    key = (dataset.target, _as_json(dataset.args), part, dataset.channels)
    if key not in _DIGESTS:
        digest, labels, shape = hashlib.sha256(), [], (0, 0, 0)
        for pixels, label in _items(dataset, part, track):
            digest.update(np.ascontiguousarray(pixels).data)
            labels.append(label)
            shape = pixels.shape
        digest.update(np.asarray(labels, np.int64).data)
        _DIGESTS[key] = {"own images": digest.hexdigest(), "shape": [len(labels), *shape]}
    return _DIGESTS[key]


_DIGESTS: dict[tuple[str, str, str, int], dict[str, Any]] = {}
"""what `identity` returned in this process, by what determines it"""


def decode(dataset: OwnImages, part: str, track: Track, folder: Path | None) -> Decoded:
    """The images and labels of a split. Raises ConfigError if images have another size than the option says.

    folder: gets the images in a file; None: they stay in memory."""
    labels: list[int] = []
    if folder is not None:
        size = image_count(dataset, part) * math.prod(image_shape(dataset))
        what = f"dataset.target={dataset.target}: its {part} images"
        files.check_space(folder.parent, size, what, "give another store=...")
    with closing(PixelFile(folder, image_shape(dataset))) as images:
        for pixels, label in _items(dataset, part, track):
            height, width = pixels.shape[1:]
            if (height, width) != (dataset.height, dataset.width):
                raise ConfigError(
                    f"dataset.target={dataset.target}: its {part} images are {height} pixels high and {width} wide: "
                    f"give dataset.height={height} dataset.width={width}"
                )
            images.append(pixels)
            labels.append(label)
        array, _ = images.finish()
    return Decoded(StoredRows(array), np.asarray(labels, np.int64), Report(total=len(labels)))


# --- the user's function and its data sets ---


def _as_json(arguments: Any) -> str:
    return json.dumps(arguments, sort_keys=True)


@lru_cache(maxsize=8)
def _made(target: str, arguments: str, part: str) -> Any:
    """The data set of a split, or None. Raises ConfigError for anything else."""
    make, _ = imports.import_factory(target, "dataset.target")
    given = json.loads(arguments) or {}
    place = f"dataset.target={target}"
    if not isinstance(given, dict):
        raise ConfigError(f"dataset.args={given}: give arguments by name, 'dataset.args={{root: images}}'")
    data = imports.call(partial(make, part), given, place, "dataset.args")
    if data is None and part == "train":
        raise ConfigError(f'{place}: for "train" it returns None: return a data set of (image, label)')
    if data is not None and not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise ConfigError(
            f'{place}: for "{part}" it returns a {type(data).__name__}: return a data set with __len__ and '
            "__getitem__, whose items are (image, label)"
        )
    if data is not None and _length(data, place, part) == 0:
        raise ConfigError(f"{place}: its {part} data set is empty")
    return data


def _length(data: Any, place: str, part: str) -> int:
    try:
        return len(data)
    except Exception as error:  # from the user's code
        raise ConfigError(
            f"{place}: the length of its {part} set is not known ({type(error).__name__}: {imports.first_line(error)})"
        ) from error


def _items(dataset: OwnImages, part: str, track: Track) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield the pixels (C, H, W) and the label of every item of a split. Raises ConfigError for items that do not fit
    the first one, or that are others when they are read again."""
    data = _made(dataset.target, _as_json(dataset.args), part)
    count, place = len(data), f"dataset.target={dataset.target}"
    checked = set(np.unique(np.linspace(0, count - 1, min(count, _READ_TWICE)).astype(int)).tolist())
    kept: dict[int, tuple[NDArray[np.uint8], int]] = {}
    first: NDArray[np.uint8] | None = None
    first_channels = 0
    for number in track(range(count), f"reading {dataset.target} {part}"):
        image, label = _item(data, number, dataset.target, part)
        given = _pixels(image, dataset.target, number, part)
        first_channels = first_channels or len(given)
        if len(given) > max(dataset.channels, first_channels):
            raise ConfigError(
                f"{place}: image {number} of its {part} set has 3 channels and the first one has 1: give "
                "dataset.channels=3, or grey images alone"
            )
        pixels = _in_channels(given, dataset.channels)
        first = pixels if first is None else first
        if pixels.shape != first.shape:
            raise ConfigError(
                f"{place}: image {number} of its {part} set has the shape {pixels.shape} and those before it "
                f"{first.shape}: give all images one size"
            )
        if number in checked:
            kept[number] = pixels.copy(), label
        yield pixels, label
    for number, (pixels, label) in kept.items():
        image, label_again = _item(data, number, dataset.target, part)
        again = _in_channels(_pixels(image, dataset.target, number, part), dataset.channels)
        if label_again != label or not np.array_equal(again, pixels):
            raise ConfigError(
                f"{place}: item {number} of its {part} set is another one when it is read again: leave random changes "
                "out of the data set (schedule.STAGE.augmentation makes them)"
            )


def _item(data: Any, number: int, target: str, part: str) -> tuple[Any, int]:
    where = f"dataset.target={target}: item {number} of its {part} set"
    try:
        item = data[number]
    except Exception as error:  # from the user's code
        raise ConfigError(f"{where} cannot be read ({type(error).__name__}: {imports.first_line(error)})") from error
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
        raise ConfigError(f"{where} is a {type(item).__name__}: give (image, label)")
    image, label = item
    number_of_label = np.asarray(label)
    if number_of_label.ndim or not np.issubdtype(number_of_label.dtype, np.integer):
        raise ConfigError(f"{where} has the label {label!r}: give the number of its class, a whole number from 0")
    return image, int(number_of_label)


def _pixels(image: Any, target: str, number: int, part: str) -> NDArray[np.uint8]:
    """The pixels of an image, (C, H, W), 0 to 255."""
    where = f"dataset.target={target}: image {number} of its {part} set"
    if isinstance(image, Image.Image):
        is_grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
        try:
            image = encoded_image.in_8_bits(image, 1 if is_grey else 3)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[2] in (1, 3):
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ConfigError(
            f"{where} is a {type(image).__name__} of shape {array.shape}: give a PIL image, or an array of (H, W), "
            "(H, W, C) or (C, H, W) with 1 or 3 channels"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        raise ConfigError(
            f"{where} has the type bool: give whole numbers from 0 to 255, or fractions k/255 from 0 to 1"
        )
    values = array.astype(np.float64) * (255 if np.issubdtype(array.dtype, np.floating) else 1)
    rounded = values.round()
    if rounded.min(initial=0) < 0 or rounded.max(initial=0) > 255 or np.abs(values - rounded).max(initial=0) > 1e-2:
        raise ConfigError(
            f"{where} has values from {array.min():.4g} to {array.max():.4g} of type {array.dtype}: give whole numbers "
            "from 0 to 255, or fractions k/255 from 0 to 1, without normalisation (dataset/preprocessing does that)"
        )
    return rounded.astype(np.uint8)


def _in_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    return np.asarray(Image.fromarray(pixels.transpose(1, 2, 0)).convert("L"))[None]


def _class_names(data: Any) -> list[str] | None:
    names = getattr(data, "classes", None)
    return [str(name) for name in names] if isinstance(names, Iterable) and not isinstance(names, str) else None
