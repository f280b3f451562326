"""`fitnets prepare aflw`: 16x16 patches with and without faces from the licensed AFLW (section 3.4 of the paper).

The paper says that annotated face regions are resized to 16x16, that as many patches without faces come from ImageNet,
and that a tenth of all patches is for validation. Our choices: patches are RGB; rectangles are clipped to their image;
patches without faces are random squares; the training and validation parts share no source image.
"""

import io
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fitnets.config.seeds import seed_of
from fitnets.data.reading import encoded_image
from fitnets.errors import ConfigError
from fitnets.progress import Track
from fitnets.store import directories
from fitnets.store import files as store_files

SIDE = 16
"""height and width of a patch in pixels"""
CLASSES = ("no face", "face")
"""class names of label 0 and label 1"""
_SHOWN = 5
"""largest number of broken rows and images in a message"""

Box = tuple[int, int, int, int]
"""left, top, right, bottom, in pixels"""


@dataclass(frozen=True, slots=True)
class Face:
    """A row of AFLW's database."""

    face_id: int
    image: Path | None
    """None if the database has no image for the face"""
    rectangle: tuple[Any, Any, Any, Any]
    """x, y, width and height in pixels, unchecked; the rectangle may reach over the edge of its image"""

    @property
    def name(self) -> str:
        return f"face {self.face_id} ({self.image.name if self.image else 'no image'})"


@dataclass(frozen=True, slots=True)
class Patch:
    """A labelled 16x16 image."""

    png: bytes
    """RGB image in PNG format"""
    label: int
    """index into CLASSES"""
    origin: Path
    """image file that the patch was cut from"""


def prepare(
    aflw: Path, negatives: Path, out: Path, *, count: int | None, seed: int, skip_broken: bool, track: Track
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Write `train` and `validation` Parquet files in the layout of the hub. Returns the number of patches of each
    class by part, and the skipped rows and files with their reasons.

    aflw: folder with `aflw.sqlite` and the images.
    negatives: folder of images without faces, at any depth.
    count: number of patches without faces; None: as many as faces.
    skip_broken: leave broken rows and files out.

    Raises ConfigError naming broken rows and files if `skip_broken` is false. Nothing is written then."""
    faces, broken = _face_patches(read_faces(aflw), track)
    if not faces and not broken:
        raise ConfigError(f"--aflw {aflw}: aflw.sqlite has no face")
    directories.check_writable(out, "--out ")
    _check_replaceable(out)
    others, broken_images = _negative_patches(negatives, len(faces) if count is None else count, seed, track)
    broken += broken_images
    if broken and not skip_broken:
        shown = "; ".join(broken[:_SHOWN]) + "; ..." * (len(broken) > _SHOWN)
        raise ConfigError(
            f"{len(broken)} broken rows or images, nothing written: {shown}\n--skip-broken leaves them out"
        )
    parts = split([*faces, *others], seed)
    for name, patches in parts.items():
        missing = set(CLASSES) - {CLASSES[patch.label] for patch in patches}
        if missing:
            raise ConfigError(
                f"{', '.join(missing)}: too few images for a {name} part that shares none with the other: give more"
            )
    for name, patches in parts.items():
        store_files.write(out / f"{name}-00000-of-00001.parquet", _parquet(patches))
    return {name: Counter(CLASSES[patch.label] for patch in patches) for name, patches in parts.items()}, broken


def _check_replaceable(out: Path) -> None:
    """Raise ConfigError if the folder holds Parquet files of another data set under the names that would be written."""
    from fitnets.data.reading.parquet import class_label_names

    for path in sorted(path for part in ("train", "validation") for path in out.glob(f"{part}-*.parquet")):
        if class_label_names(path, "label") != list(CLASSES):
            raise ConfigError(f"--out {out}: {path.name} there belongs to another data set: give a new folder")


# --- faces ---


def read_faces(aflw: Path) -> list[Face]:
    """The annotated faces of `aflw.sqlite`, ordered by face_id. Raises ConfigError if it is not AFLW's database."""
    databases = sorted(aflw.rglob("aflw.sqlite")) if aflw.is_dir() else []
    if not databases:
        raise ConfigError(f"--aflw {aflw}: no aflw.sqlite in it: give the folder of the licensed download")
    query = (
        "SELECT Faces.face_id, FaceImages.filepath, FaceRect.x, FaceRect.y, FaceRect.w, FaceRect.h FROM Faces "
        "LEFT JOIN FaceImages ON Faces.file_id = FaceImages.file_id "
        "LEFT JOIN FaceRect ON Faces.face_id = FaceRect.face_id ORDER BY Faces.face_id"
    )
    try:
        with closing(sqlite3.connect(f"{databases[0].resolve().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(query).fetchall()
    except sqlite3.Error as error:
        raise ConfigError(f"{databases[0]} is not AFLW's database ({error})") from error
    images = _image_root(aflw, [path for _, path, *_ in rows if path])
    return [Face(face_id, images / path if path else None, tuple(rectangle)) for face_id, path, *rectangle in rows]


def _image_root(aflw: Path, paths: Sequence[str]) -> Path:
    """The folder that paths in the database are relative to. AFLW's tools put this folder at different places."""
    candidates = [aflw, *(folder for folder in sorted(aflw.rglob("*")) if folder.name in ("flickr", "images", "data"))]
    for path in paths[:100]:
        for root in candidates:
            if (root / path).is_file():
                return root
    return aflw


def _face_patches(faces: list[Face], track: Track) -> tuple[list[Patch], list[str]]:
    """(patches, broken rows with their reasons)."""
    patches: list[Patch] = []
    broken: list[str] = []
    rectangles = Counter(face.face_id for face in faces)
    for row in track(range(len(faces)), "faces"):
        face = faces[row]
        try:
            if rectangles[face.face_id] > 1:
                raise ValueError(f"{rectangles[face.face_id]} rectangles or images")
            patches.append(_face_patch(face))
        except ValueError as error:
            broken.append(f"{face.name}: {error}")
    return patches, broken


def _face_patch(face: Face) -> Patch:
    """Cut the patch of a row. Raises ValueError with the reason if the row is broken."""
    if face.image is None:
        raise ValueError("no image")
    if None in face.rectangle:
        raise ValueError("no rectangle")
    if not all(isinstance(value, int | float) for value in face.rectangle):
        raise ValueError(f"its rectangle {face.rectangle} is not numeric")
    x, y, width, height = face.rectangle
    if width <= 0 or height <= 0:
        raise ValueError(f"its rectangle is {width}x{height} pixels")
    picture = _open(face.image)
    box = (max(0, x), max(0, y), min(picture.width, x + width), min(picture.height, y + height))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"its rectangle lies outside of the {picture.width}x{picture.height} image")
    return Patch(_patch_png(picture, box), 1, face.image)


# --- patches without faces ---


def _negative_patches(folder: Path, count: int, seed: int, track: Track) -> tuple[list[Patch], list[str]]:
    """(patches, unusable files with their reasons). Patches are random squares of each image in turn, until there are
    `count` of them."""
    files = _image_files(folder)
    patches: list[Patch] = []
    broken: list[str] = []
    for number in track(range(count), "patches without faces"):
        while files and len(patches) == number:
            file = files[number % len(files)]
            try:
                picture = _open(file)
                box = _random_square(picture.width, picture.height, seed_of("negatives", seed, number))
                patches.append(Patch(_patch_png(picture, box), 0, file))
            except ValueError as error:
                broken.append(f"{file}: {error}")
                files.remove(file)
    return patches, broken


def _image_files(folder: Path) -> list[Path]:
    from PIL import Image

    suffixes = Image.registered_extensions()
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes] if folder.is_dir() else []
    if not files:
        raise ConfigError(f"--negatives {folder}: no image in it: give a folder of images without faces")
    return files


def _random_square(width: int, height: int, seed: int) -> Box:
    """A square at a random place, with a random side between 16 pixels and the shorter side of the image."""
    if min(width, height) < SIDE:
        raise ValueError(f"{width}x{height} pixels are less than {SIDE}x{SIDE}")
    generator = np.random.default_rng(seed)
    side = int(generator.integers(SIDE, min(width, height) + 1))
    left, top = (int(generator.integers(0, size - side + 1)) for size in (width, height))
    return left, top, left + side, top + side


# --- patches ---


def _open(path: Path) -> Any:
    """The image in RGB. Raises ValueError with the reason if it cannot be decoded."""
    from PIL import Image

    if not path.is_file():
        raise ValueError("no such image")
    try:
        with Image.open(path) as picture:
            return encoded_image.in_8_bits(picture, 3)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"cannot be decoded ({error})") from error


def _patch_png(picture: Any, box: Box) -> bytes:
    """The region of the picture, resized to 16x16, as PNG."""
    from PIL import Image

    file = io.BytesIO()
    picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box).save(file, "PNG")
    return file.getvalue()


def split(patches: list[Patch], seed: int) -> dict[str, list[Patch]]:
    """Divide patches into `train` and `validation`, in random order. The validation part is as near to a tenth of each
    class as whole source images allow."""
    held_out = set(_validation_origins(patches, seed))
    order = np.random.default_rng(seed_of("order of patches", seed)).permutation(len(patches))
    parts: dict[str, list[Patch]] = {"train": [], "validation": []}
    for row in order:
        patch = patches[row]
        parts["validation" if patch.origin in held_out else "train"].append(patch)
    return parts


def _validation_origins(patches: list[Patch], seed: int) -> Iterator[Path]:
    """Random source images for the validation part, with at most a tenth of the patches of each class."""
    for label in range(len(CLASSES)):
        origins = Counter(patch.origin for patch in patches if patch.label == label)
        paths = sorted(origins)
        places_left = max(1, round(0.1 * origins.total()))
        for index in np.random.default_rng(seed_of("validation patches", label, seed)).permutation(len(paths)):
            if origins[paths[index]] <= places_left:
                places_left -= origins[paths[index]]
                yield paths[index]


def _parquet(patches: list[Patch]) -> bytes:
    from datasets import ClassLabel, Dataset, Features, Image, disable_progress_bars

    disable_progress_bars()
    rows = {
        "image": [{"bytes": patch.png, "path": patch.origin.name} for patch in patches],
        "label": [patch.label for patch in patches],
    }
    file = io.BytesIO()
    Dataset.from_dict(rows, Features({"image": Image(), "label": ClassLabel(names=list(CLASSES))})).to_parquet(file)
    return file.getvalue()
