"""Small data sets for tests of every sweep and command: digits, Parquet, image folder. A run takes a second."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

KINDS = ("digits", "parquet", "folder")
STEPS = tuple(
    f"schedule.{stage}.{key}=1" for stage in ("teacher", "hint", "student") for key in ("epochs", "max_steps")
)
BASE = ("tracker=none", "engine.threads=1", "schedule=quick", "schedule.equal_epochs=false", *STEPS)
NETWORKS = ("teacher=resnet", "teacher.depth=8", "teacher.width=1", "hint_layer=middle", "student=thin")
STUDENT = ("student.depth=3", "student.width=4")


def make(root: Path) -> dict[str, tuple[str, ...]]:
    """Write the files below the root and return the overrides of each kind of data set."""
    _parquet(root / "parquet")
    _folder(root / "folder")
    return {
        "digits": ("dataset=digits", "dataset.validation_images=1200"),
        "parquet": ("dataset=mnist", f"dataset.path={root / 'parquet'}", "dataset.validation_images=100"),
        "folder": ("dataset=folder", f"dataset.path={root / 'folder'}"),
    }


def _parquet(place: Path) -> None:
    place.mkdir(parents=True)
    generator = np.random.default_rng(2)
    for split, count in (("train", 400), ("test", 60)):
        rows = []
        for number in range(count):
            pixels = generator.integers(0, 60, (28, 28))
            pixels[2 * (number % 10) : 2 * (number % 10) + 4] += 150
            rows.append({"image": {"bytes": _png(pixels), "path": None}, "label": number % 10})
        pq.write_table(pa.Table.from_pylist(rows), place / f"{split}-00000-of-00001.parquet")


def _folder(place: Path) -> None:
    generator = np.random.default_rng(1)
    for number, name in enumerate("abc"):
        (place / name).mkdir(parents=True)
        for image in range(60):
            pixels = generator.integers(0, 30, (32, 32, 3)) + 100 * number
            (place / name / f"{image:03}.png").write_bytes(_png(pixels))


def _png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(content, "PNG")
    return content.getvalue()
