"""`dataset=folder`: a folder of images with a sub-folder for each class, and the split of its images: the one that its
folders train, val and test make, or one that is drawn once and saved."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitnets.config import Folder, image_shape
from fitnets.config.seeds import seed_of
from fitnets.data.draws import Raw
from fitnets.data.reading import decoding, encoded_image, folder_layout
from fitnets.data.reading.decoding import BrokenImages, Decoded
from fitnets.data.reading.encoded_image import Opened
from fitnets.data.reading.folder_layout import PARTS, Contents
from fitnets.errors import ConfigError, printable
from fitnets.paths import expanded
from fitnets.progress import Track
from fitnets.store import files as store_files

_WHOLE: Mapping[str, str] = {}


def contents(dataset: Folder, *, may_lack_classes: bool = False) -> Contents:
    """All images of the folder, whether they can be decoded or not, and what is left out. Nothing is written.

    may_lack_classes: a class may be without images; what is not trained on may.

    Raises ConfigError where the folder and the configuration do not agree."""
    found = folder_layout.structure(dataset.path)
    _check_count(dataset, found.classes)
    return folder_layout.contents(found, may_lack_classes=may_lack_classes)


def images(found: Contents) -> list[str]:
    """The images of all parts, as paths relative to the folder."""
    return [name for names in found.images.values() for name in names]


def class_names(dataset: Folder) -> list[str]:
    """In the order of the labels. Raises ConfigError where there are others than the configuration says."""
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


def identity(dataset: Folder, chosen: list[str]) -> dict[str, Any]:
    """What tells one set of images from another without opening them: names, sizes in bytes, times of change."""
    stats = [(name, (root(dataset) / name).stat()) for name in chosen]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return {"folder": hashlib.sha256(text.encode()).hexdigest(), "classes": class_names(dataset)}


def pixels(dataset: Any, path: Path) -> NDArray[np.uint8]:
    """(C, H, W) of one image file, as the data set has it: upright, on white where it is transparent, resized and
    cropped at the centre. dataset: anything with channels, height and width.

    Raises pictures.BrokenImage, with the reason."""
    return _sized(dataset, path)[0]


def _sized(dataset: Any, path: Path) -> tuple[NDArray[np.uint8], Opened]:
    from PIL import Image, ImageOps

    opened = encoded_image.opened(path, dataset.channels)
    size = (dataset.width, dataset.height)
    return encoded_image.pixels(ImageOps.fit(opened.picture, size, Image.Resampling.BICUBIC)), opened


def decoded(dataset: Folder, chosen: list[str], track: Track) -> Decoded:
    """The images that can be decoded, resized and cropped at the centre to the configured size, with the numbers of
    their classes. Broken ones are in the report alone."""
    numbers = {name: number for number, name in enumerate(class_names(dataset))}
    found, rows, report = decoding.decode(
        [printable(name) for name in chosen],
        lambda row: _sized(dataset, root(dataset) / chosen[row]),
        image_shape(dataset),
        track,
        f"decoding {len(chosen)} images",
    )
    labels = np.asarray([numbers.get(class_of(chosen[row]), -1) for row in rows], dtype=np.int64)
    return Decoded(found, labels, report)


def decode(dataset: Folder, chosen: list[str], track: Track) -> Raw:
    """Images and labels. Raises BrokenImages."""
    found = decoded(dataset, chosen, track)
    if found.report.broken:
        raise BrokenImages(f"dataset.path={dataset.path}", [found.report])
    return found.raw


def root(dataset: Folder) -> Path:
    """The folder of images."""
    return expanded(dataset.path)


# --- splits ---


def files(dataset: Folder, broken: Mapping[str, str] = _WHOLE) -> dict[str, list[str]]:
    """The images of each part, as paths relative to the folder: those of its folders train, val and test, or from the
    saved split, which is drawn and saved if there is none. broken: printable names of images to leave out.

    Raises ConfigError where folder, classes and saved split do not agree."""
    found = contents(dataset)
    usable = {part: [name for name in names if printable(name) not in broken] for part, names in found.images.items()}
    if found.structure.splits:
        return _predefined(dataset, usable)
    path = _split_file(dataset)
    if not path.is_file():
        _save(path, dataset, _draw(dataset, usable["all"], broken))
    return _saved(path, dataset, usable["all"], broken)


def _predefined(dataset: Folder, usable: dict[str, list[str]]) -> dict[str, list[str]]:
    """The splits as they lie in the folder. Without validation images, they are drawn from the training images."""
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
    """A share of each class, and at least one image, is for validation; at least one stays for training."""
    train: list[str] = []
    validation: list[str] = []
    for name in class_names(dataset):
        of_class = [image for image in images if class_of(image) == name]
        if len(of_class) < 2:
            raise ConfigError(
                f"dataset.path={dataset.path}: class {name} has {len(of_class)} images in train/ and needs one each "
                "for training and validation: add some, or a folder val/"
            )
        count = min(max(1, round(dataset.validation_share * len(of_class))), len(of_class) - 1)
        order = _shuffled(dataset, name, of_class)
        validation += order[:count]
        train += order[count:]
    return {"train": sorted(train), "validation": sorted(validation)}


def _shuffled(dataset: Folder, name: str, of_class: list[str]) -> list[str]:
    order: list[str] = np.random.default_rng(seed_of("folder split", name, dataset.seed)).permutation(of_class).tolist()
    return order


def has_split(dataset: Folder) -> bool:
    """Whether the images are split already, so that nothing is drawn and written when a part is asked for."""
    return bool(folder_layout.structure(dataset.path).splits) or _split_file(dataset).is_file()


def _split_file(dataset: Folder) -> Path:
    return expanded(dataset.split_file) if dataset.split_file else root(dataset) / "split.json"


def _draw(dataset: Folder, images: list[str], broken: Mapping[str, str]) -> dict[str, list[str]]:
    """Of each class its share, and at least one image, in every part."""
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in class_names(dataset):
        of_class = [image for image in images if class_of(image) == name]
        if len(of_class) < len(PARTS):
            unusable = sum(class_of(image) == name for image in broken)
            raise ConfigError(
                f"dataset.path={dataset.path}: class {name} has {len(of_class)} images"
                f"{f' beside {unusable} that cannot be used' * bool(unusable)} and needs one each for "
                "training, validation and test: add some"
            )
        test, valid = (max(1, round(share * len(of_class))) for share in (dataset.test_share, dataset.validation_share))
        test = min(test, len(of_class) - 2)
        valid = min(valid, len(of_class) - test - 1)
        order = _shuffled(dataset, name, of_class)
        parts["test"] += order[:test]
        parts["validation"] += order[test : test + valid]
        parts["train"] += order[test + valid :]
    return {part: sorted(chosen) for part, chosen in parts.items()}


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
    """The split of a file, without broken images. Raises ConfigError where it is none, or does not agree with the
    folder or configuration."""
    try:
        told = store_files.read_json(path)
        parts: dict[str, list[str]] = {part: [str(name) for name in told[part] if name not in broken] for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no split, a JSON object with lists train, validation and test ({error!r}): {_ANOTHER}"
        ) from error
    for key, share in _settings(dataset).items():
        if told.get(key, share) != share:
            raise ConfigError(
                f"dataset.{key}={share}: the split in {path} was drawn with {told[key]}: give that, or {_ANOTHER}"
            )
    _check_agreement(path, parts, images)
    return parts


def _check_agreement(path: Path, parts: Mapping[str, list[str]], images: list[str]) -> None:
    listed = [name for part in parts.values() for name in part]
    new, gone = sorted(set(images) - set(listed)), sorted(set(listed) - set(images))
    for those, problem in ((new, "in the folder and not in the split"), (gone, "in the split and not in the folder")):
        if those:
            raise ConfigError(
                f"{path}: {len(those)} images are {problem}, {printable(those[0])} the first: edit that file, or "
                f"{_ANOTHER}"
            )
    empty = [part for part, names in parts.items() if not names]
    if empty or len(listed) != len(set(listed)):
        raise ConfigError(f"{path}: {f'no {empty[0]} image' if empty else 'an image is in two parts'}: edit that file")
