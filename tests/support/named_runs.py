"""Helpers that write small data sets with named classes and train runs on them."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fitnets.composition import loading
from fitnets.experiment import pipeline
from support.runs import TINY

WORDS = [word for word in TINY if not word.startswith("dataset.")] + ["dataset=folder", "teacher=maxout_cifar10"]
WORDS += ["dataset.height=8", "dataset.width=8", "dataset.channels=1", "dataset/preprocessing=standardize"]
WORDS += [f"schedule.{stage}.batch_size=8" for stage in ("teacher", "hint", "student")]
CLASSES = ("ant", "bee", "cow")


def picture(label: int, number: int) -> Image.Image:
    """An image of 12x12 pixels with a bright band; the height of the band shows the class."""
    pixels = np.random.default_rng(number).integers(0, 60, (12, 12))
    pixels[4 * label : 4 * label + 4] += 180
    return Image.fromarray(pixels.astype("uint8"))


def write_folder(root: Path, names=CLASSES, each: int = 10, labels: list[int] | None = None) -> Path:
    """Write a folder of images, with a subfolder for each class.

    labels: the label whose band the images of each class show; None gives 0, 1, ..."""
    for label, name in zip(labels or range(len(names)), names, strict=True):
        (root / name).mkdir(parents=True)
        for number in range(each):
            picture(label, number).save(root / name / f"{number:02}.png")
    return root


def write_table(root: Path, split: str, labels: list[int], names: list[str] | None, shown: list[int]) -> Path:
    """Write a Parquet file of 8x8 images.

    names: the names of its ClassLabel; None writes no ClassLabel
    shown: for each label, the label whose band its images show"""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, label in enumerate(labels):
        data = io.BytesIO()
        picture(shown[label], number).resize((8, 8)).save(data, "PNG")
        rows.append({"image": {"bytes": data.getvalue(), "path": None}, "label": label})
    table = pa.Table.from_pylist(rows)
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, root / f"{split}-00000-of-00001.parquet")
    return root


def trained(root: Path, store: Path, *words: str) -> Path:
    """Train a run on a folder of images, with enough epochs to tell the bands apart. Returns the run's folder."""
    epochs = [word.replace("epochs=1", "epochs=6") for word in WORDS]
    result = pipeline.run(loading.load([*epochs, f"dataset.path={root}", f"store={store}", *words]))
    return store / "run" / result["hashes"]["run"]


def listing(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def forget(run: Path, *keys: str) -> None:
    """Remove keys from the `result.json` of a run, so that it looks like one of an earlier version."""
    result = json.loads((run / "result.json").read_text())
    for key in keys:
        result.pop(key, None)
    (run / "result.json").write_text(json.dumps(result))
