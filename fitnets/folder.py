"""`dataset=folder`: a folder of images with a sub-folder for each class, and the saved split of its images."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets import store
from fitnets.config import Folder
from fitnets.labelled import Raw, Track, proportional_draw
from fitnets.options import ConfigError
from fitnets.seeds import seed_of

PARTS = ("train", "validation", "test")


def files(dataset: Folder) -> dict[str, list[str]]:
    """The images of each part, as `class/file`, from the saved split; drawn and saved if there is none.

    Raises ConfigError where folder, classes and saved split do not agree."""
    root, names = _root(dataset), _class_names(dataset)
    images = [f"{name}/{path.name}" for name in names for path in sorted((root / name).iterdir()) if _is_image(path)]
    for name in names:
        if not any(image.startswith(f"{name}/") for image in images):
            raise ConfigError(
                f"dataset.path={dataset.path}: no image in the class folder {name}: add some, or remove it"
            )
    path = _split_file(dataset)
    if not path.is_file():
        _save(path, dataset, _draw(dataset, images))
    parts: dict[str, list[str]] = {part: store.read_json(path).get(part, []) for part in PARTS}
    _check_split(path, parts, images)
    return parts


def identity(dataset: Folder, chosen: list[str]) -> dict[str, Any]:
    """What tells one set of images from another without opening them: names, sizes in bytes, times of change."""
    stats = [(name, (_root(dataset) / name).stat()) for name in chosen]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return {"folder": hashlib.sha256(text.encode()).hexdigest(), "classes": _class_names(dataset)}


def decode(dataset: Folder, chosen: list[str], track: Track) -> Raw:
    """Images resized and cropped at the centre to the configured size, with their classes' numbers."""
    numbers = {name: number for number, name in enumerate(_class_names(dataset))}
    images = np.empty((len(chosen), dataset.channels, dataset.height, dataset.width), dtype=np.uint8)
    for row in track(range(len(chosen)), f"decoding {len(chosen)} images"):
        images[row] = _pixels(dataset, _root(dataset) / chosen[row])
    return images, np.asarray([numbers[name.split("/")[0]] for name in chosen], dtype=np.int64)


def _pixels(dataset: Folder, path: Path) -> NDArray[np.uint8]:
    """(C, H, W)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("L" if dataset.channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"dataset.path={dataset.path}: {path} cannot be decoded ({error}): remove it") from error
    pixels = np.asarray(ImageOps.fit(picture, (dataset.width, dataset.height), Image.Resampling.BICUBIC))
    return pixels[None] if dataset.channels == 1 else pixels.transpose(2, 0, 1)


def _root(dataset: Folder) -> Path:
    return Path(dataset.path).expanduser()


def _class_names(dataset: Folder) -> list[str]:
    root = _root(dataset)
    if not root.is_dir():
        raise ConfigError(f"dataset.path={dataset.path}: no such folder: give one with a sub-folder for each class")
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) != dataset.classes:
        listed = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
        way_out = f"give dataset.classes={len(names)}" if len(names) > 1 else "give a folder with one for each class"
        raise ConfigError(
            f"dataset.classes={dataset.classes} and {dataset.path} has {len(names)} class folders "
            f"({listed or 'none'}): {way_out}"
        )
    return names


def _is_image(path: Path) -> bool:
    from PIL import Image

    return path.suffix.lower() in Image.registered_extensions() and not path.name.startswith(".")


def _split_file(dataset: Folder) -> Path:
    return Path(dataset.split_file).expanduser() if dataset.split_file else _root(dataset) / "split.json"


def _draw(dataset: Folder, images: list[str]) -> dict[str, list[str]]:
    labels = np.unique([image.split("/")[0] for image in images], return_inverse=True)[1].astype(np.int64)
    test_count, valid_count = (
        max(dataset.classes, round(share * len(images))) for share in (dataset.test_share, dataset.validation_share)
    )
    is_test = proportional_draw(labels, test_count, seed_of("folder test", dataset.seed))
    rest = np.flatnonzero(~is_test)
    is_valid = np.zeros(len(images), dtype=bool)
    is_valid[rest[proportional_draw(labels[rest], valid_count, seed_of("folder validation", dataset.seed))]] = True
    rows = {"train": ~is_test & ~is_valid, "validation": is_valid, "test": is_test}
    if not rows["train"].any():
        raise ConfigError(f"dataset.path={dataset.path}: {len(images)} images are too few for three splits: add some")
    return {part: [images[row] for row in np.flatnonzero(mask)] for part, mask in rows.items()}


def _save(path: Path, dataset: Folder, parts: dict[str, list[str]]) -> None:
    try:
        store.write_json(path, {"seed": dataset.seed, **parts})
    except OSError as error:
        raise ConfigError(
            f"cannot write the split to {path} ({error.strerror}): give dataset.split_file=FILE"
        ) from error


def _check_split(path: Path, parts: dict[str, list[str]], images: list[str]) -> None:
    saved = [name for part in parts.values() for name in part]
    new, gone = sorted(set(images) - set(saved)), sorted(set(saved) - set(images))
    for those, problem in ((new, "in the folder and not in the split"), (gone, "in the split and not in the folder")):
        if those:
            raise ConfigError(
                f"{path}: {len(those)} images are {problem}, {those[0]} the first: "
                "edit that file, or remove it to draw a new split"
            )
    empty = [part for part, names in parts.items() if not names]
    if empty or len(saved) != len(set(saved)):
        raise ConfigError(f"{path}: {f'no {empty[0]} image' if empty else 'an image is in two parts'}: edit that file")
