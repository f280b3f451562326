"""Makes small folders of images and Parquet files, and reads them as a run would."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fitnets.composition import loading
from fitnets.config import Dataset
from fitnets.data import splits, unread
from support.datasets import CPU, SILENCE, hub_images

BRIEF = (
    "dataset/preprocessing=scale",
    "dataset.height=8",
    "dataset.width=8",
    *(f"schedule.{stage}.{key}" for stage in ("teacher", "hint", "student") for key in ("epochs=1", "batch_size=4")),
    "teacher=resnet",
    "teacher.depth=8",
    "teacher.width=1",
    "hint_layer=middle",
    "student=thin",
    "student.depth=3",
    "student.width=4",
    "tracker=none",
    "engine.threads=1",
)


def folder(root: Path, classes: str = "abc", count: int = 4) -> Path:
    """Write grey PNG images; the class determines the brightness."""
    for number, name in enumerate(classes.split(",") if "," in classes else classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("L", (8, 8), 20 + 60 * number + index).save(root / name / f"{index}.png")
    return root


def table(file: Path, rows: list[bytes | None], labels: object) -> Path:
    """Write a Parquet file of encoded images."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": row, "path": None} for row in rows], kind)
    pq.write_table(pa.table({"image": images, "label": labels}), file)
    return file


def png(value: int = 9) -> bytes:
    """Return a grey PNG image, 4 pixels high and 5 wide."""
    from io import BytesIO

    file = BytesIO()
    Image.fromarray(np.full((4, 5), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def shards(root: Path, split: str, total: int, each: int = 6) -> Path:
    for number in range(total):
        table(
            root / f"{split}-{number:05}-of-{total:05}.parquet",
            [png(9 * i) for i in range(each)],
            [0, 1, 2] * (each // 3),
        )
    return root


class Taken(NamedTuple):
    """The part of a data set that a run uses.

    train, valid, test: number of images; test is None without a test split
    """

    train: int
    valid: int
    test: int | None
    notes: str
    digest: str


def taken(dataset: Dataset, store: Path) -> Taken:
    """Return what a run would use of a data set."""
    has_test = unread.has_test_split(dataset)
    store.mkdir(exist_ok=True)
    splits.check_files(dataset, store, SILENCE, test=has_test)
    data = splits.load(dataset, store, CPU, SILENCE)
    test = len(splits.load_test(dataset, store, CPU, SILENCE)) if has_test else None
    notes = splits.notes(dataset, store, SILENCE, test=has_test)
    return Taken(len(data.train), len(data.valid), test, "\n".join(notes), data.digest)


def of_folder(root: Path, *words: str) -> Taken:
    """Return what a run would use of a folder of images; the store is beside the folder."""
    config = loading.load(["dataset=folder", f"dataset.path={root}", *BRIEF[:3], *words])
    return taken(config.dataset, root.parent / "store")


def of_tables(root: Path, **changes: object) -> Taken:
    """Return what a run would use of a folder of Parquet files."""
    return taken(hub_images(root, **changes), root.parent / "store")
