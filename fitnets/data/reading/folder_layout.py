"""Finds the splits, classes and images in a folder, and notes what is left out."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from fitnets.errors import ConfigError, printable, suggest
from fitnets.paths import expanded
from fitnets.store import ownership

FolderPart = Literal["train", "validation", "test"]
PARTS: tuple[FolderPart, ...] = ("train", "validation", "test")
_PART_OF_NAME: dict[str, FolderPart] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SYSTEM = {"__macosx", "@eadir", "lost+found", "__pycache__", "$recycle.bin", "system volume information"}
"""lower-case names of folders that operating systems and tools make"""
_NO_RASTER = {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "PDF"}
"""formats that Pillow lists but cannot turn into pixels by itself"""
_PHOTOS = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".svg")
"""suffixes of photos and drawings that a user may want to convert"""
_SHOWN = 3
"""largest number of file names in a note"""


@dataclass(frozen=True, slots=True)
class Structure:
    """The folders that are splits and classes."""

    root: Path
    splits: dict[FolderPart, str]
    """name of each part's folder; empty if the class folders lie directly in the root"""
    classes: list[str]
    """class names in the order of the labels"""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """names of other folders, by the reason why they are left out"""


@dataclass(frozen=True, slots=True)
class Contents:
    """The files that are images of a class."""

    structure: Structure
    images: dict[str, list[str]]
    """paths relative to the root, sorted by class and name, by part; the only part is 'all' if the class folders lie
    directly in the root"""
    left_out: dict[str, list[str]]
    """names of other files and folders, by the reason why they are left out"""


# --- folders ---


def structure(path: str, store: str | None = None) -> Structure:
    """Find out which folders are splits and which are classes.

    path: the folder of images.
    store: folder of the store. It is neither a split nor a class, even if it is new and empty.

    Raises ConfigError if the folder does not exist, or if its layout is ambiguous."""
    root = expanded(path)
    if not root.is_dir():
        raise ConfigError(
            f"dataset.path={path}: {'a file, not a folder' if root.exists() else 'no such folder'}: give one with a "
            "sub-folder for each class"
        )
    left_out: dict[str, list[str]] = {}
    folders = _candidates(root, root, left_out, store)
    split_names = {name: _PART_OF_NAME[name.lower()] for name in folders if name.lower() in _PART_OF_NAME}
    inside = {name: _candidates(root, root / name, left_out, store) for name in split_names}
    with_classes = {name: part for name, part in split_names.items() if inside[name]}
    others = [name for name in folders if name not in split_names]
    if not with_classes:
        if folders and not others:
            raise ConfigError(
                f"dataset.path={path}: no class folders in {_and([f'{name}/' for name in folders])}: put the images of "
                f"each class into a sub-folder of its own, {folders[0]}/CLASS/IMAGE"
            )
        return Structure(root, {}, folders, left_out)
    with_images = [name for name in others if _has_images(root / name)]
    if len(with_classes) == 1 and with_images and _has_images(root / next(iter(with_classes))):
        return Structure(root, {}, folders, left_out)  # a class has the name of a part
    splits = _splits(path, with_classes, with_images)
    for name in folders:
        if name in others or (name not in with_classes and not _has_images(root / name)):
            left_out.setdefault("folders beside the splits", []).append(f"{name}/")
        elif name not in with_classes:
            _leave_out_images(root / name, f"{name}/", left_out, f"images in {name}/, which has no class folders")
    return Structure(root, splits, inside[splits["train"]], left_out)


def _splits(path: str, with_classes: dict[str, FolderPart], with_images: list[str]) -> dict[FolderPart, str]:
    """The folder of each part.

    with_classes: part of each folder that is named like a part and holds class folders.
    with_images: other folders that hold images."""
    splits: dict[FolderPart, str] = {}
    for name, part in with_classes.items():
        if part in splits:
            raise ConfigError(
                f"dataset.path={path}: {splits[part]}/ and {name}/ are both the {part} split: put their images into "
                "one of them, or one of them elsewhere"
            )
        splits[part] = name
    if "train" not in splits:
        raise ConfigError(
            f"dataset.path={path}: {_and([f'{name}/' for name in with_classes])} hold class folders, and there is no "
            "train/ beside them: put the class folders for training into train/"
        )
    if len(splits) == 1 and with_images:
        train = splits["train"]
        raise ConfigError(
            f"dataset.path={path}: {train}/ holds class folders, and {_and(with_images)} beside it hold images: give "
            f"dataset.path={Path(path) / train} to use {train}/ alone, or put {train}/ elsewhere"
        )
    return {part: splits[part] for part in PARTS if part in splits}


def has_test(path: str) -> bool:
    """True if the folder has a test split, if one is drawn from its images, or if the folder cannot be read."""
    try:
        splits = structure(path).splits
    except ConfigError:
        return True
    return not splits or "test" in splits


def _candidates(root: Path, folder: Path, left_out: dict[str, list[str]], store: str | None) -> list[str]:
    """Names of the sub-folders that may be classes or splits, sorted. Other sub-folders are added to `left_out`."""
    candidates = []
    for entry in _entries(folder):
        name = f"{entry.name}/" if folder == root else f"{folder.name}/{entry.name}/"
        if not _is_folder(entry):
            _check_link(root, folder, entry)
        elif is_system(entry.name):
            left_out.setdefault("system folders", []).append(name)
        elif _is_of_store(Path(entry.path), store):
            left_out.setdefault("folders of results (store)", []).append(name)
        else:
            _check_name(root, name)
            candidates.append(entry.name)
    return candidates


def _check_name(root: Path, name: str) -> None:
    """Raise ConfigError for a class name that cannot be written into a file."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"dataset.path={root}: the name of {printable(name)} is not UTF-8: rename it") from None


def _check_link(root: Path, folder: Path, entry: "os.DirEntry[str]") -> None:
    """Raise ConfigError for a broken link that stands in for a class folder."""
    if entry.is_symlink() and not Path(entry.name).suffix and not os.path.exists(entry.path):
        raise ConfigError(
            f"dataset.path={root}: {printable(os.path.relpath(entry.path, root))} is a broken link to "
            f"{printable(os.readlink(entry.path))}: correct it, or put it outside {folder}"
        )


def is_system(name: str) -> bool:
    """True for the name of a hidden file or folder, and of a folder that an operating system or tool makes."""
    return name.startswith(".") or name.lower() in _SYSTEM


def _is_of_store(folder: Path, store: str | None) -> bool:
    """True if the folder is a store of results, or holds nothing but stores."""
    if store is not None and expanded(store).absolute().is_relative_to(folder.absolute()):
        return not _has_images(folder)
    try:
        if ownership.is_store(folder):
            return True
        inside = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        return bool(inside) and all(_is_folder(entry) and ownership.is_store(Path(entry.path)) for entry in inside)
    except OSError:
        return False


# --- files ---


def contents(structure: Structure, *, may_lack_classes: bool = False) -> Contents:
    """Find the images of each class and part, and note what is left out.

    may_lack_classes: a class may have no images.

    Raises ConfigError if a class has no image, or if val/ or test/ has a class that train/ does not have."""
    root = structure.root
    images: dict[str, list[str]] = {}
    left_out = {reason: list(names) for reason, names in structure.left_out.items()}
    _leave_out_images(root, "", left_out)
    for part, folder in structure.splits.items() or [("all", "")]:
        prefix = f"{folder}/" if folder else ""
        names = structure.classes
        if folder:
            _leave_out_images(root / folder, prefix, left_out)
            names = _candidates(root, root / folder, {}, None)
        by_class = {name: _images_of_class(root, f"{prefix}{name}", left_out) for name in names}
        if not (may_lack_classes and any(by_class.values())):
            _check_classes(structure, part, prefix, by_class, left_out)
        images[part] = [image for name in names for image in by_class[name]]
    return Contents(structure, images, left_out)


def _check_classes(
    structure: Structure, part: str, prefix: str, by_class: dict[str, list[str]], left_out: dict[str, list[str]]
) -> None:
    path, classes = f"dataset.path={structure.root}", structure.classes
    if part in ("all", "train"):
        for name, images in by_class.items():
            if not images:
                others = _others_in(f"{prefix}{name}/", left_out)
                raise ConfigError(
                    f"{path}: no image in the class folder {printable(prefix + name)}{others}: add some, or put that "
                    "folder elsewhere"
                )
    elif unknown := [name for name, images in by_class.items() if images and name not in classes]:
        first, listed = unknown[0], ", ".join(classes[:5]) + ", ..." * (len(classes) > 5)
        alike = [name for name in classes if name.casefold() == first.casefold()]
        hint = f"; did you mean {alike[0]}?" if alike else suggest(first, classes)
        raise ConfigError(
            f"{path}: {prefix} has images of {_and(unknown)}, and {structure.splits['train']}/ has no such class{hint} "
            f"(classes: {listed}): give them the same names, or put {prefix}{first} elsewhere"
        )
    elif not any(by_class.values()):
        raise ConfigError(f"{path}: no image in the class folders of {prefix}: add some, or put {prefix} elsewhere")


def _others_in(folder: str, left_out: dict[str, list[str]]) -> str:
    """The files of a folder that are left out, as ' (it holds 3 .heic files)'; empty if there are none."""
    counts = {reason: sum(name.startswith(folder) for name in names) for reason, names in left_out.items()}
    others = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return f" (it holds {others})" if others else ""


def _images_of_class(root: Path, folder: str, left_out: dict[str, list[str]]) -> list[str]:
    """The images of a class folder, as paths relative to the root. Other files are added to `left_out`."""
    images = []
    for entry in _entries(root / folder):
        name = f"{folder}/{entry.name}"
        reason = _reason_to_leave_out(entry)
        if reason is None:
            images.append(name)
        elif reason == _NESTED:
            left_out.setdefault(reason, []).extend(_files_below(entry.path, name))
        else:
            left_out.setdefault(reason, []).append(name)
    return images


_NESTED = "files in sub-folders of class folders"


def _reason_to_leave_out(entry: "os.DirEntry[str]") -> str | None:
    """Why a file or folder in a class folder is left out; None for an image, which may turn out to be broken."""
    suffix = Path(entry.name).suffix.lower()
    if is_system(entry.name):
        return "hidden or system files"
    if suffix in _raster_suffixes():
        return None
    if _is_folder(entry):
        return _NESTED
    return f"{suffix} files" if suffix else "files without a suffix"


def _files_below(path: str, name: str) -> Iterator[str]:
    """Files at any depth below the folder `path`, as paths that begin with `name`. Linked folders are not entered."""
    for folder, _, files in os.walk(path):
        for file in files:
            yield os.path.join(name, os.path.relpath(os.path.join(folder, file), path))


_OUTSIDE = "images outside the class folders"


def _leave_out_images(folder: Path, prefix: str, left_out: dict[str, list[str]], reason: str = _OUTSIDE) -> None:
    """Add to `left_out` the images that lie directly in a folder, beside classes or splits."""
    for entry in _entries(folder):
        looks_like_image = Path(entry.name).suffix.lower() in (*_raster_suffixes(), *_PHOTOS)
        if looks_like_image and not entry.name.startswith(".") and not _is_folder(entry):
            left_out.setdefault(reason, []).append(f"{prefix}{entry.name}")


def is_image(path: Path) -> bool:
    """True if the file has the name of an image. The image may turn out to be broken."""
    return path.suffix.lower() in _raster_suffixes() and not is_system(path.name)


def _has_images(folder: Path) -> bool:
    return any(Path(entry.name).suffix.lower() in _raster_suffixes() for entry in _entries(folder))


@cache
def _raster_suffixes() -> frozenset[str]:
    """Suffixes of the formats that Pillow decodes into pixels."""
    from PIL import Image

    formats = Image.registered_extensions()
    return frozenset(suffix for suffix, name in formats.items() if name in Image.OPEN and name not in _NO_RASTER)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """The entries of a folder, sorted by name. Raises ConfigError if the folder cannot be read."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(
            f"cannot read the folder {printable(str(folder))} ({error.strerror}): give yourself the permission, or put "
            "it elsewhere"
        ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """True for a folder or a link to one. A link in a loop is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


# --- notes ---


def notes(contents: Contents) -> Iterator[str]:
    """Yield sentences for the plan: which splits are used, how the classes are ordered, and what is left out."""
    yield from _split_notes(contents)
    if note := text_order_note(contents.structure.classes):
        yield note
    for reason, names in contents.left_out.items():
        shown = ", ".join(printable(name) for name in names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
        if len(names) == 1:
            reason = re.sub(r"\b(file|folder|image)s\b", r"\1", reason, count=1)
        convertible = any(reason.startswith(suffix) for suffix in _PHOTOS)
        yield f"left out: {len(names)} {reason} ({shown}){': PNG and JPEG are read' * convertible}"


def _split_notes(contents: Contents) -> Iterator[str]:
    splits = contents.structure.splits
    if not splits:
        return
    folders = _and([f"{splits[part]}/ ({len(contents.images[part])} images)" for part in PARTS if part in splits])
    unused = "dataset.test_share is" if "validation" not in splits else "dataset.validation_share and test_share are"
    verb = "are the splits" if len(splits) > 1 else "is the training split"
    yield f"{folders} {verb}: {unused} not used"
    if "validation" not in splits:
        yield f"no val/: validation images are drawn from {splits['train']}/ (dataset.validation_share)"
    if "test" not in splits:
        yield "no test/ with class folders: there are no test figures"


def text_order_note(names: list[str]) -> str | None:
    """A note if class names are whole numbers and their order as text, which labels follow, is not the numeric one."""
    numbers = [name for name in names if name.isascii() and name.isdigit()]
    for before, after in pairwise(numbers):
        if int(after) < int(before):
            return (
                f"classes are sorted as text, as in torchvision: {before} comes before {after}, and {after} has label "
                f"{names.index(after)}"
            )
    return None


def _and(names: list[str]) -> str:
    """The names as 'a, b and c'."""
    shown = [printable(name) for name in names]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)
