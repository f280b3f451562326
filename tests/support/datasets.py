"""Small data sets that tests write, and a progress that shows nothing."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fitnets.config import HubImages, Preprocessing, Scale
from fitnets.data import preprocessing, splits

CPU = torch.device("cpu")


def in_silence(items, _title):
    return items


class Silence:
    """A progress that shows nothing."""

    track = staticmethod(in_silence)

    def say(self, _text): ...


SILENCE = Silence()


def hub_images(path: Path, **changes) -> HubImages:
    layout = {
        "name": "made",
        "hub": "someone/made",
        "revision": "main",
        "path": str(path),
        "image_column": "image",
        "label_column": "label",
        "train_split": "train",
        "test_split": "test",
        "channels": 1,
        "height": 4,
        "width": 5,
        "classes": 3,
        "pixel_max": 255,
        "validation_images": 6,
        "validation_rule": "by_class",
        "preprocessing": Scale(),
    }
    return HubImages(**{**layout, **changes})


def write_parquet(folder: Path, split: str, images: np.ndarray, labels: list[int]) -> None:
    """Write PNG images and labels as the hub lays them out."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rows = []
    for pixels in images:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": None})
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": rows, "label": labels}), folder / f"{split}-00000-of-00001.parquet")


FORMATS = ("a.png", "b.jpg", "c.webp", "d.bmp", "e.PNG", "f.gif")


def write_images(root: Path, classes=("cat", "dog", "owl"), each: int = 20) -> Path:
    """Write coloured and grey images of many sizes and formats. Each class has its own brightness."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(each):
            height, width = generator.integers(10, 60, size=2)
            pixels = np.clip(generator.normal(60 + 70 * number, 20, size=(height, width, 3)), 0, 255).astype(np.uint8)
            picture = Image.fromarray(pixels if index % 3 else pixels[..., 0])
            picture.save(root / name / f"{index}{FORMATS[index % len(FORMATS)]}")
    (root / "notes.txt").write_text("not a class")
    (root / classes[0] / "notes.txt").write_text("not an image")
    return root


def first_rows(source: Path, target: Path, count: int) -> dict[str, int]:
    """Copy the first rows of the first Parquet file of each split. Returns the number of all rows of each split."""
    import pyarrow.parquet as pq

    rows = {}
    for split in ("train", "test"):
        files = sorted(source.rglob(f"{split}-*.parquet"))
        rows[split] = sum(pq.read_metadata(file).num_rows for file in files)
        pq.write_table(pq.read_table(files[0]).slice(0, count), target / f"{split}-00000-of-00001.parquet")
    return rows


def fitted(option: Preprocessing, pixels: torch.Tensor, pixel_max: float = 255) -> preprocessing.FittedPreprocessing:
    """What a preprocessing fits on images (N, C, H, W) uint8."""
    if not preprocessing.is_elementwise(option):
        return preprocessing.fit(option, lambda: [pixels.float() / pixel_max])
    counts = [torch.bincount(channel.flatten(), minlength=256) for channel in pixels.unbind(dim=1)]
    return preprocessing.fit_counts(option, torch.stack(counts), pixel_max)


def all_images(split: splits.Split) -> torch.Tensor:
    """The images of all rows that a split's data set has, (N, C, H, W)."""
    return split.images[torch.arange(len(split.labels))]
