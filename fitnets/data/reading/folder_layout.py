"""What a folder of images holds: its splits, its classes, its images, and what is left out of it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from fitnets.errors import ConfigError, near, printable
from fitnets.paths import expanded
from fitnets.store import ownership

FolderPart = Literal["train", "validation", "test"]
PARTS: tuple[FolderPart, ...] = ("train", "validation", "test")
_NAMES: dict[str, FolderPart] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SYSTEM = {"__macosx", "@eadir", "lost+found", "__pycache__", "$recycle.bin", "system volume information"}
_NO_RASTER = {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "PDF"}
"""formats that Pillow lists, and cannot turn into pixels by itself"""
_PHOTOS = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".svg")
"""suffixes of photos and drawings that are worth converting"""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Structure:
    """The folders that count. root: as given; splits: folder name of each part, or nothing where class folders lie
    directly in the root; classes: names in the order of the labels; left_out: names of other folders, by reason."""

    root: Path
    splits: dict[FolderPart, str]
    classes: list[str]
    left_out: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contents:
    """The files that count. images: paths relative to the root, sorted by class and name, of each part, or of 'all'
    where class folders lie directly in the root; left_out: names of other files, by reason."""

    structure: Structure
    images: dict[str, list[str]]
    left_out: dict[str, list[str]]


# --- folders ---


def structure(path: str, store: str | None = None) -> Structure:
    """Which folders are splits and classes. store: a folder that is none of them, however new and empty.

    Raises ConfigError where there is no such folder, or where it is unclear what is what."""
    root = expanded(path)
    if not root.is_dir():
        raise ConfigError(
            f"dataset.path={path}: {'a file, not a folder' if root.exists() else 'no such folder'}: give one with a "
            "sub-folder for each class"
        )
    left_out: dict[str, list[str]] = {}
    folders = _candidates(root, root, left_out, store)
    named = {name: _NAMES[name.lower()] for name in folders if name.lower() in _NAMES}
    inside = {name: _candidates(root, root / name, left_out, store) for name in named}
    holding = {name: part for name, part in named.items() if inside[name]}
    others = [name for name in folders if name not in named]
    if not holding:
        if folders and not others:
            raise ConfigError(
                f"dataset.path={path}: no class folders in {_and([f'{name}/' for name in folders])}: put the images of "
                f"each class into a sub-folder of its own, {folders[0]}/CLASS/IMAGE"
            )
        return Structure(root, {}, folders, left_out)
    with_images = [name for name in others if _has_images(root / name)]
    if len(holding) == 1 and with_images and _has_images(root / next(iter(holding))):
        return Structure(root, {}, folders, left_out)  # a class that is called train
    splits = _splits(path, holding, with_images)
    for name in folders:
        if name in others or (name not in holding and not _has_images(root / name)):
            left_out.setdefault("folders beside the splits", []).append(f"{name}/")
        elif name not in holding:
            _loose(root / name, f"{name}/", left_out, f"images in {name}/, which has no class folders")
    return Structure(root, splits, inside[splits["train"]], left_out)


def _splits(path: str, holding: dict[str, FolderPart], with_images: list[str]) -> dict[FolderPart, str]:
    """The folder of each part. holding: folders called like parts that hold class folders."""
    splits: dict[FolderPart, str] = {}
    for name, part in holding.items():
        if part in splits:
            raise ConfigError(
                f"dataset.path={path}: {splits[part]}/ and {name}/ are both the {part} split: put their images into "
                "one of them, or one of them elsewhere"
            )
        splits[part] = name
    if "train" not in splits:
        raise ConfigError(
            f"dataset.path={path}: {_and([f'{name}/' for name in holding])} hold class folders, and there is no train/ "
            "beside them: put the class folders for training into train/"
        )
    if len(splits) == 1 and with_images:
        train = splits["train"]
        raise ConfigError(
            f"dataset.path={path}: {train}/ holds class folders, and {_and(with_images)} beside it hold images: give "
            f"dataset.path={Path(path) / train} to use {train}/ alone, or put {train}/ elsewhere"
        )
    return {part: splits[part] for part in PARTS if part in splits}


def has_test(path: str) -> bool:
    """Whether the folder has test images, its own or drawn; True where the folder cannot be read."""
    try:
        splits = structure(path).splits
    except ConfigError:
        return True
    return not splits or "test" in splits


def _candidates(root: Path, folder: Path, left_out: dict[str, list[str]], store: str | None) -> list[str]:
    """Names of the sub-folders that may be classes or splits, sorted."""
    found = []
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
            found.append(entry.name)
    return found


def _check_name(root: Path, name: str) -> None:
    """Raises ConfigError for a class that cannot be written into a file."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"dataset.path={root}: the name of {printable(name)} is no UTF-8: rename it") from None


def _check_link(root: Path, folder: Path, entry: "os.DirEntry[str]") -> None:
    """Raises ConfigError for a link that leads nowhere in the place of a class folder."""
    if entry.is_symlink() and not Path(entry.name).suffix and not os.path.exists(entry.path):
        raise ConfigError(
            f"dataset.path={root}: {printable(os.path.relpath(entry.path, root))} is a link that leads nowhere, to "
            f"{printable(os.readlink(entry.path))}: correct it, or put it outside {folder}"
        )


def is_system(name: str) -> bool:
    """Whether a file or folder of this name was made by an operating system or tool, and is hidden or no data."""
    return name.startswith(".") or name.lower() in _SYSTEM


def _is_of_store(folder: Path, store: str | None) -> bool:
    """Whether the folder is a store of results, or holds stores and nothing else."""
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


def contents(found: Structure, *, may_lack_classes: bool = False) -> Contents:
    """The images of each class and part, and what is left out.

    may_lack_classes: a class may be without images.

    Raises ConfigError where a class has no image, or where val/ or test/ has a class that train/ has not."""
    images: dict[str, list[str]] = {}
    left_out = {reason: list(names) for reason, names in found.left_out.items()}
    _loose(found.root, "", left_out)
    for part, folder in found.splits.items() or [("all", "")]:
        prefix = f"{folder}/" if folder else ""
        names = found.classes
        if folder:
            _loose(found.root / folder, prefix, left_out)
            names = _candidates(found.root, found.root / folder, {}, None)
        of_class = {name: _of_class(found.root, f"{prefix}{name}", left_out) for name in names}
        if not (may_lack_classes and any(of_class.values())):
            _check_classes(found, part, prefix, of_class, left_out)
        images[part] = [image for name in names for image in of_class[name]]
    return Contents(found, images, left_out)


def _check_classes(
    found: Structure, part: str, prefix: str, of_class: dict[str, list[str]], left_out: dict[str, list[str]]
) -> None:
    path = f"dataset.path={found.root}"
    if part in ("all", "train"):
        for name, images in of_class.items():
            if not images:
                held = _held(f"{prefix}{name}/", left_out)
                raise ConfigError(
                    f"{path}: no image in the class folder {printable(prefix + name)}{held}: add some, or put that "
                    "folder elsewhere"
                )
    elif unknown := [name for name, images in of_class.items() if images and name not in found.classes]:
        first, known = unknown[0], ", ".join(found.classes[:5]) + ", ..." * (len(found.classes) > 5)
        alike = [name for name in found.classes if name.casefold() == first.casefold()]
        hint = f"; did you mean {alike[0]}?" if alike else near(first, found.classes)
        raise ConfigError(
            f"{path}: {prefix} has images of {_and(unknown)}, and {found.splits['train']}/ has no such class{hint} "
            f"(classes: {known}): give them the same names, or put {prefix}{first} elsewhere"
        )
    elif not any(of_class.values()):
        raise ConfigError(f"{path}: no image in the class folders of {prefix}: add some, or put {prefix} elsewhere")


def _held(folder: str, left_out: dict[str, list[str]]) -> str:
    """' (it holds 3 .heic files)': what of a folder is left out."""
    counts = {reason: sum(name.startswith(folder) for name in names) for reason, names in left_out.items()}
    told = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return f" (it holds {told})" if told else ""


def _of_class(root: Path, folder: str, left_out: dict[str, list[str]]) -> list[str]:
    """The images of a class folder, as paths relative to the root."""
    images = []
    for entry in _entries(root / folder):
        name = f"{folder}/{entry.name}"
        reason = _why_not(entry)
        if reason is None:
            images.append(name)
        elif reason == _NESTED:
            left_out.setdefault(reason, []).extend(_below(entry.path, name))
        else:
            left_out.setdefault(reason, []).append(name)
    return images


_NESTED = "files in sub-folders of class folders"


def _why_not(entry: "os.DirEntry[str]") -> str | None:
    """Why a file or folder in a class folder is left out; None for an image, which may turn out to be broken."""
    suffix = Path(entry.name).suffix.lower()
    if is_system(entry.name):
        return "hidden or system files"
    if suffix in _raster_suffixes():
        return None
    if _is_folder(entry):
        return _NESTED
    return f"{suffix} files" if suffix else "files without a suffix"


def _below(path: str, name: str) -> Iterator[str]:
    """Files at any depth below a folder; links to folders are not followed."""
    for folder, _, files in os.walk(path):
        for file in files:
            yield os.path.join(name, os.path.relpath(os.path.join(folder, file), path))


_OUTSIDE = "images outside the class folders"


def _loose(folder: Path, prefix: str, left_out: dict[str, list[str]], reason: str = _OUTSIDE) -> None:
    """Images that lie directly in a folder whose sub-folders are classes or splits."""
    for entry in _entries(folder):
        is_picture = Path(entry.name).suffix.lower() in (*_raster_suffixes(), *_PHOTOS)
        if is_picture and not entry.name.startswith(".") and not _is_folder(entry):
            left_out.setdefault(reason, []).append(f"{prefix}{entry.name}")


def is_image(path: Path) -> bool:
    """Whether the name is that of an image, which may turn out to be broken."""
    return path.suffix.lower() in _raster_suffixes() and not is_system(path.name)


def _has_images(folder: Path) -> bool:
    return any(Path(entry.name).suffix.lower() in _raster_suffixes() for entry in _entries(folder))


@cache
def _raster_suffixes() -> frozenset[str]:
    """Suffixes of the formats that Pillow decodes into pixels."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN and name not in _NO_RASTER)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, sorted by name. Raises ConfigError where it cannot be read."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(
            f"cannot read the folder {printable(str(folder))} ({error.strerror}): give yourself the permission, or put "
            "it elsewhere"
        ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a folder or a link to one. A link in a loop is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


# --- notes ---


def notes(found: Contents) -> Iterator[str]:
    """Sentences for the plan: which splits are taken, how classes are ordered, what is left out."""
    yield from _of_splits(found)
    if told := numbers_as_text(found.structure.classes):
        yield told
    for reason, names in found.left_out.items():
        shown = ", ".join(printable(name) for name in names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
        if len(names) == 1:
            reason = re.sub(r"\b(file|folder|image)s\b", r"\1", reason, count=1)
        convertible = any(reason.startswith(suffix) for suffix in _PHOTOS)
        yield f"left out: {len(names)} {reason} ({shown}){': PNG and JPEG are read' * convertible}"


def _of_splits(found: Contents) -> Iterator[str]:
    splits = found.structure.splits
    if not splits:
        return
    taken = _and([f"{splits[part]}/ ({len(found.images[part])} images)" for part in PARTS if part in splits])
    unused = "dataset.test_share is" if "validation" not in splits else "dataset.validation_share and test_share are"
    verb = "are the splits" if len(splits) > 1 else "is the training split"
    yield f"{taken} {verb}: {unused} not used"
    if "validation" not in splits:
        yield f"no val/: validation images are drawn from {splits['train']}/ (dataset.validation_share)"
    if "test" not in splits:
        yield "no test/ with class folders: there are no test figures"


def numbers_as_text(names: list[str]) -> str | None:
    """A note where class names are whole numbers whose order as text, which counts, is another than by value."""
    numbers = [name for name in names if name.isascii() and name.isdigit()]
    for before, after in pairwise(numbers):
        if int(after) < int(before):
            return (
                f"classes are sorted as text, as in torchvision: {before} comes before {after}, and {after} has label "
                f"{names.index(after)}"
            )
    return None


def _and(names: list[str]) -> str:
    """'a, b and c'."""
    shown = [printable(name) for name in names]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)
