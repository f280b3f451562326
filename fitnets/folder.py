"""`dataset=folder`: a folder of images with a sub-folder for each class, and the saved split of its images."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets import pictures, store
from fitnets.config import Folder, image_shape
from fitnets.labelled import Raw, Track
from fitnets.options import ConfigError
from fitnets.places import expanded
from fitnets.seeds import seed_of

PARTS = ("train", "validation", "test")
_LISTED = 5


def files(dataset: Folder) -> dict[str, list[str]]:
    """The images of each part, as `class/file`, from the saved split; drawn and saved if there is none.

    Raises ConfigError where folder, classes and saved split do not agree."""
    root, names = _root(dataset), class_names(dataset)
    images = [f"{name}/{path.name}" for name in names for path in sorted((root / name).iterdir()) if is_image(path)]
    for name in names:
        if not any(image.startswith(f"{name}/") for image in images):
            raise ConfigError(
                f"dataset.path={dataset.path}: no image in the class folder {name}: add some, or remove it"
            )
    path = _split_file(dataset)
    if not path.is_file():
        _save(path, dataset, _draw(dataset, images))
    return _saved(path, dataset, images)


def everything(dataset: Folder) -> list[str]:
    """All images as `class/file`, whatever their split, which is neither read nor drawn. A class may have none.

    Raises ConfigError where the classes are others than the configuration says, or there is no image."""
    root, names = _root(dataset), class_names(dataset)
    images = [f"{name}/{path.name}" for name in names for path in sorted((root / name).iterdir()) if is_image(path)]
    if not images:
        raise ConfigError(f"dataset.path={dataset.path}: no image in its class folders ({', '.join(names[:5])})")
    return images


def has_saved_split(dataset: Folder) -> bool:
    return _split_file(dataset).is_file()


def identity(dataset: Folder, chosen: list[str]) -> dict[str, Any]:
    """What tells one set of images from another without opening them: names, sizes in bytes, times of change."""
    stats = [(name, (_root(dataset) / name).stat()) for name in chosen]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return {"folder": hashlib.sha256(text.encode()).hexdigest(), "classes": class_names(dataset)}


def decode(dataset: Folder, chosen: list[str], track: Track) -> Raw:
    """Images resized and cropped at the centre to the configured size, with their classes' numbers.

    Raises ConfigError with the files that are no images."""
    numbers = {name: number for number, name in enumerate(class_names(dataset))}
    images = np.empty((len(chosen), *image_shape(dataset)), dtype=np.uint8)
    broken: list[str] = []
    for row in track(range(len(chosen)), f"decoding {len(chosen)} images"):
        try:
            images[row] = pixels(dataset, _root(dataset) / chosen[row])
        except Undecodable as error:
            broken.append(f"{chosen[row]} ({error})")
    if broken:
        listed = "; ".join(broken[:_LISTED]) + f"; and {len(broken) - _LISTED} more" * (len(broken) > _LISTED)
        raise ConfigError(
            f"dataset.path={dataset.path}: {len(broken)} of {len(chosen)} files cannot be decoded: {listed}: remove "
            f"them there and from {_split_file(dataset)}"
        )
    return images, np.asarray([numbers[name.split("/")[0]] for name in chosen], dtype=np.int64)


class Undecodable(Exception):
    """A file that is no image, with the reason."""


def pixels(dataset: Folder, path: Path) -> NDArray[np.uint8]:
    """(C, H, W)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = pictures.in_8_bits(ImageOps.exif_transpose(opened), dataset.channels)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Undecodable(str(error).replace(f"{path.parent}/", "")) from error
    return pictures.pixels(ImageOps.fit(picture, (dataset.width, dataset.height), Image.Resampling.BICUBIC))


def sizes(dataset: Folder) -> set[tuple[int, int]]:
    """(width, height) of all its images, as they are on the disk."""
    from PIL import Image

    found = set()
    for chosen in files(dataset).values():
        for name in chosen:
            with Image.open(_root(dataset) / name) as opened:
                found.add(opened.size)
    return found


def _root(dataset: Folder) -> Path:
    return expanded(dataset.path)


def sub_folders(path: str) -> list[str]:
    """What the classes of a folder are called. Raises ConfigError if there is no such folder."""
    root = expanded(path)
    if not root.is_dir():
        raise ConfigError(f"dataset.path={path}: no such folder: give one with a sub-folder for each class")
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def class_names(dataset: Folder) -> list[str]:
    """In the order of the labels. Raises ConfigError where there are others than the configuration says."""
    names = sub_folders(dataset.path)
    if len(names) != dataset.classes:
        listed = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
        way_out = f"give dataset.classes={len(names)}" if len(names) > 1 else "give a folder with one for each class"
        raise ConfigError(
            f"dataset.classes={dataset.classes} and {dataset.path} has {len(names)} class folders "
            f"({listed or 'none'}): {way_out}"
        )
    return names


def is_image(path: Path) -> bool:
    from PIL import Image

    return path.suffix.lower() in Image.registered_extensions() and not path.name.startswith(".")


def _split_file(dataset: Folder) -> Path:
    return expanded(dataset.split_file) if dataset.split_file else _root(dataset) / "split.json"


def _draw(dataset: Folder, images: list[str]) -> dict[str, list[str]]:
    """Of each class its share, and at least one image, in every part."""
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in class_names(dataset):
        of_class = [image for image in images if image.startswith(f"{name}/")]
        if len(of_class) < len(PARTS):
            raise ConfigError(
                f"dataset.path={dataset.path}: class {name} has {len(of_class)} images and needs one each for "
                "training, validation and test: add some"
            )
        test, valid = (max(1, round(share * len(of_class))) for share in (dataset.test_share, dataset.validation_share))
        test = min(test, len(of_class) - 2)
        valid = min(valid, len(of_class) - test - 1)
        order = np.random.default_rng(seed_of("folder split", name, dataset.seed)).permutation(of_class).tolist()
        parts["test"] += order[:test]
        parts["validation"] += order[test : test + valid]
        parts["train"] += order[test + valid :]
    return {part: sorted(chosen) for part, chosen in parts.items()}


def _settings(dataset: Folder) -> dict[str, float]:
    return {"validation_share": dataset.validation_share, "test_share": dataset.test_share}


def _save(path: Path, dataset: Folder, parts: dict[str, list[str]]) -> None:
    try:
        store.write_json(path, {"seed": dataset.seed, **_settings(dataset), **parts})
    except OSError as error:
        raise ConfigError(
            f"cannot write the split to {path} ({error.strerror}): give dataset.split_file=FILE"
        ) from error


def _saved(path: Path, dataset: Folder, images: list[str]) -> dict[str, list[str]]:
    """The split of a file. Raises ConfigError where it is none, or does not agree with the folder or configuration."""
    try:
        told = store.read_json(path)
        parts = {part: [str(name) for name in told[part]] for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no split, a JSON object with lists train, validation and test ({error!r}): remove it"
        ) from error
    for key, share in _settings(dataset).items():
        if told.get(key, share) != share:
            raise ConfigError(
                f"dataset.{key}={share}: the split in {path} was drawn with {told[key]}: remove it to draw a new one"
            )
    _check_agreement(path, parts, images)
    return parts


def _check_agreement(path: Path, parts: dict[str, list[str]], images: list[str]) -> None:
    listed = [name for part in parts.values() for name in part]
    new, gone = sorted(set(images) - set(listed)), sorted(set(listed) - set(images))
    for those, problem in ((new, "in the folder and not in the split"), (gone, "in the split and not in the folder")):
        if those:
            raise ConfigError(
                f"{path}: {len(those)} images are {problem}, {those[0]} the first: "
                "edit that file, or remove it to draw a new split"
            )
    empty = [part for part, names in parts.items() if not names]
    if empty or len(listed) != len(set(listed)):
        raise ConfigError(f"{path}: {f'no {empty[0]} image' if empty else 'an image is in two parts'}: edit that file")
