"""`dataset=folder`: a folder of images with a sub-folder for each class.

The split comes from folders train, val and test inside, or is drawn once and saved.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fitnets.config import Folder, image_shape
from fitnets.config.seeds import seed_of
from fitnets.data import resizing
from fitnets.data.eight_bit import Pixels, StoredRows
from fitnets.data.reading import decoding, encoded_image, folder_layout
from fitnets.data.reading.decoding import Decoded
from fitnets.data.reading.encoded_image import OpenedImage
from fitnets.data.reading.folder_layout import PARTS, Contents
from fitnets.data.resizing import CentreView
from fitnets.errors import ConfigError, printable
from fitnets.paths import expanded
from fitnets.progress import Track
from fitnets.store import files as store_files

_NOTHING_BROKEN: Mapping[str, str] = {}


def contents(dataset: Folder, *, may_lack_classes: bool = False) -> Contents:
    """Find all images of the folder, broken ones included, and note what is left out. Nothing is written.

    may_lack_classes: a class may have no images, as in a folder that is not trained on.

    Raises ConfigError if the folder and the configuration do not agree."""
    structure = folder_layout.structure(dataset.path)
    _check_count(dataset, structure.classes)
    return folder_layout.contents(structure, may_lack_classes=may_lack_classes)


def all_images(contents: Contents) -> list[str]:
    """The images of all parts, as paths relative to the folder."""
    return [name for names in contents.images.values() for name in names]


def class_names(dataset: Folder) -> list[str]:
    """The class names in the order of the labels. Raises ConfigError unless there are `dataset.classes` of them."""
    names = folder_layout.structure(dataset.path).classes
    _check_count(dataset, names)
    return names


def class_of(image: str) -> str:
    """The class folder that an image lies in."""
    return image.rsplit("/", 2)[-2]


def _check_count(dataset: Folder, names: list[str]) -> None:
    if len(names) == dataset.classes:
        return
    listed = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
    way_out = f"give dataset.classes={len(names)}" if len(names) > 1 else "give a folder with one for each class"
    raise ConfigError(
        f"dataset.classes={dataset.classes} and {dataset.path} has {len(names)} class folders "
        f"({listed or 'none'}): {way_out}"
    )


# --- decoding ---


def identity(dataset: Folder, names: list[str]) -> dict[str, Any]:
    """JSON values that distinguish sets of images without opening them, from names, sizes and modification times.

    names: paths relative to the folder."""
    stats = [(name, (root(dataset) / name).stat()) for name in names]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    facts = {"folder": hashlib.sha256(text.encode()).hexdigest(), "classes": class_names(dataset)}
    return facts | stored_form(dataset)


def stored_form(dataset: Folder) -> dict[str, Any]:
    """JSON values that determine how images with sizes of their own are stored; empty if they are stored as networks
    get them."""
    side = stored_side(dataset)
    return {} if side is None else {"short side": side, "interpolation": dataset.interpolation}


def centre_view(dataset: Any) -> CentreView:
    """Return what networks see of images without augmentation.

    dataset: anything with channels, height and width."""
    if not isinstance(dataset, Folder):
        return CentreView(dataset.height, dataset.width, 1.0, "bicubic")
    return CentreView(dataset.height, dataset.width, dataset.crop_share, dataset.interpolation, dataset.squash)


def pixels(dataset: Any, path: Any) -> NDArray[np.uint8]:
    """(C, H, W): the pixels of an image file, or of a `PIL.Image.Image`, upright, on white where it is
    transparent, resized and cropped at the centre.

    dataset: anything with channels, height and width.

    Raises `encoded_image.BrokenImage` with the reason."""
    with encoded_image.without_warnings():
        image, _ = _resized(dataset, path)
    if stored_side(dataset) is None:
        return image
    stored = StoredRows(image.reshape(-1), sizes=np.asarray([image.shape[1:]], np.int32), channels=len(image))
    return Pixels([stored], centre_view(dataset), torch.device("cpu"))[torch.tensor([0])][0].numpy()


def stored_side(dataset: Any) -> int | None:
    """The short side to which larger images are shrunk before they are stored; None if they are stored as networks get
    them."""
    side = getattr(dataset, "stored_size", None)
    return dataset.resized_side if side == "auto" else side


def _resized(dataset: Any, path: Any) -> tuple[NDArray[np.uint8], OpenedImage]:
    """(an image as it is stored, the image as it was opened)."""
    from PIL import Image, ImageOps

    opened = encoded_image.open_image(path, dataset.channels)
    side = stored_side(dataset)
    if side is not None:
        return resizing.shrunk(encoded_image.pixels(opened.picture), side, dataset.interpolation), opened
    size = (dataset.width, dataset.height)
    return encoded_image.pixels(ImageOps.fit(opened.picture, size, Image.Resampling.BICUBIC)), opened


def decode(dataset: Folder, names: list[str], track: Track, folder: Path | None = None) -> Decoded:
    """Decode images, resized and cropped at the centre to the configured size, with their labels. Broken images appear
    in the report only.

    names: paths relative to the folder.
    folder: see `decoding.decode`."""
    label_of = {name: label for label, name in enumerate(class_names(dataset))}
    (images, sizes), rows, report = decoding.decode(
        [printable(name) for name in names],
        lambda row: root(dataset) / names[row],
        partial(_resized, dataset),
        image_shape(dataset) if stored_side(dataset) is None else None,
        track=track,
        title=f"decoding {len(names)} images",
        folder=folder,
    )
    labels = np.asarray([label_of.get(class_of(names[row]), -1) for row in rows], dtype=np.int64)
    return Decoded(StoredRows(images, sizes=sizes, channels=dataset.channels), labels, report)


def root(dataset: Folder) -> Path:
    """The folder of images."""
    return expanded(dataset.path)


# --- splits ---


def images_by_part(dataset: Folder, broken: Mapping[str, str] = _NOTHING_BROKEN) -> dict[str, list[str]]:
    """The images of each part, as paths relative to the folder. The parts are the folders train, val and test, or else
    those of the saved split. A split is drawn and saved if there is none.

    broken: printable names of images to leave out.

    Raises ConfigError if the folder, its classes and the saved split do not agree."""
    folder = contents(dataset)
    usable = {part: [name for name in names if printable(name) not in broken] for part, names in folder.images.items()}
    if folder.structure.splits:
        return _predefined(dataset, usable)
    path = _split_file(dataset)
    if not path.is_file():
        _save(path, dataset, _draw(dataset, usable["all"], broken))
    return _saved(path, dataset, usable["all"], broken)


def _predefined(dataset: Folder, usable: dict[str, list[str]]) -> dict[str, list[str]]:
    """The splits that lie in the folder. If there is no val/, validation images are drawn from the training images."""
    if dataset.split_file is not None:
        raise ConfigError(
            f"dataset.split_file={dataset.split_file}: {dataset.path} has splits of its own, and none is read or "
            "drawn: leave the key out"
        )
    parts: dict[str, list[str]] = {part: usable.get(part, []) for part in PARTS}
    if "validation" not in usable:
        parts |= _draw_validation(dataset, parts["train"])
    for part in (*usable, "train", "validation"):
        if not parts[part]:
            raise ConfigError(f"dataset.path={dataset.path}: no image for {part} can be used: add some")
    return parts


def _draw_validation(dataset: Folder, images: list[str]) -> dict[str, list[str]]:
    """Draw a share of each class for validation: at least one image, and at least one stays for training."""
    train: list[str] = []
    validation: list[str] = []
    for name in class_names(dataset):
        class_images = [image for image in images if class_of(image) == name]
        if len(class_images) < 2:
            raise ConfigError(
                f"dataset.path={dataset.path}: class {name} has {len(class_images)} images in train/ and needs one "
                "each for training and validation: add some, or a folder val/"
            )
        count = min(max(1, round(dataset.validation_share * len(class_images))), len(class_images) - 1)
        order = _shuffled(dataset, name, class_images)
        validation += order[:count]
        train += order[count:]
    return {"train": sorted(train), "validation": sorted(validation)}


def _shuffled(dataset: Folder, name: str, class_images: list[str]) -> list[str]:
    order: list[str] = (
        np.random.default_rng(seed_of("folder split", name, dataset.seed)).permutation(class_images).tolist()
    )
    return order


def has_split(dataset: Folder) -> bool:
    """True if the images are split already. Otherwise `images_by_part` draws a split and writes it."""
    return bool(folder_layout.structure(dataset.path).splits) or _split_file(dataset).is_file()


def _split_file(dataset: Folder) -> Path:
    return expanded(dataset.split_file) if dataset.split_file else root(dataset) / "split.json"


def _draw(dataset: Folder, images: list[str], broken: Mapping[str, str]) -> dict[str, list[str]]:
    """Draw a split that gives every part its share of each class, and at least one image of each class."""
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in class_names(dataset):
        class_images = [image for image in images if class_of(image) == name]
        if len(class_images) < len(PARTS):
            unusable = sum(class_of(image) == name for image in broken)
            raise ConfigError(
                f"dataset.path={dataset.path}: class {name} has {len(class_images)} images"
                f"{f' beside {unusable} that cannot be used' * bool(unusable)} and needs one each for "
                "training, validation and test: add some"
            )
        test, valid = (
            max(1, round(share * len(class_images))) for share in (dataset.test_share, dataset.validation_share)
        )
        test = min(test, len(class_images) - 2)
        valid = min(valid, len(class_images) - test - 1)
        order = _shuffled(dataset, name, class_images)
        parts["test"] += order[:test]
        parts["validation"] += order[test : test + valid]
        parts["train"] += order[test + valid :]
    return {part: sorted(names) for part, names in parts.items()}


def _settings(dataset: Folder) -> dict[str, float]:
    return {"validation_share": dataset.validation_share, "test_share": dataset.test_share}


def _save(path: Path, dataset: Folder, parts: dict[str, list[str]]) -> None:
    try:
        store_files.write_json(path, {"seed": dataset.seed, **_settings(dataset), **parts})
    except OSError as error:
        raise ConfigError(
            f"cannot write the split to {path} ({error.strerror}): give dataset.split_file=FILE"
        ) from error


_ANOTHER = "give dataset.split_file=FILE to draw a new one into another file"


def _saved(path: Path, dataset: Folder, images: list[str], broken: Mapping[str, str]) -> dict[str, list[str]]:
    """The split in a file, without broken images.

    Raises ConfigError if the file holds no split, or if the split contradicts the folder or the configuration."""
    try:
        saved = store_files.read_json(path)
        parts: dict[str, list[str]] = {
            part: [str(name) for name in saved[part] if name not in broken] for part in PARTS
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no split, a JSON object with lists train, validation and test ({error!r}): {_ANOTHER}"
        ) from error
    for key, share in _settings(dataset).items():
        if saved.get(key, share) != share:
            raise ConfigError(
                f"dataset.{key}={share}: the split in {path} was drawn with {saved[key]}: give that, or {_ANOTHER}"
            )
    _check_agreement(path, parts, images)
    return parts


def _check_agreement(path: Path, parts: Mapping[str, list[str]], images: list[str]) -> None:
    listed = [name for part in parts.values() for name in part]
    new, gone = sorted(set(images) - set(listed)), sorted(set(listed) - set(images))
    for names, problem in ((new, "in the folder and not in the split"), (gone, "in the split and not in the folder")):
        if names:
            raise ConfigError(
                f"{path}: {len(names)} images are {problem}, {printable(names[0])} the first: edit that file, or "
                f"{_ANOTHER}"
            )
    empty = [part for part, names in parts.items() if not names]
    if empty or len(listed) != len(set(listed)):
        raise ConfigError(f"{path}: {f'no {empty[0]} image' if empty else 'an image is in two parts'}: edit that file")
