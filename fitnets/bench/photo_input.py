"""Times the input of photos without a network: JPEG files against a PyTorch DataLoader with Pillow transforms.

The files are made here, the same every time. Both take turns, so that a busy machine slows both alike: read the ratios.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fitnets.bench.steps import PLAIN
from fitnets.composition import loading, overrides
from fitnets.config import Augmentation
from fitnets.console.terminal import Terminal
from fitnets.data import splits
from fitnets.data.augmentation import Views
from fitnets.progress import Progress

_CLASSES = 4
_FILE_SIZE = (500, 375)
"""width and height of the JPEG files"""
_QUALITY = 90
_SIDE = 224
"""height and width of the crops"""
_SMALLEST_AREA = 0.08
"""smallest share of a photo that a crop shows"""
_NARROWEST, _WIDEST = 3 / 4, 4 / 3
"""width over height of a crop"""
_BATCH = 128
_WORKERS = 2
"""processes of the DataLoader"""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""normalisation of the DataLoader's images; the others are standardised by values that are fitted on the photos"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTimes:
    """Seconds of an epoch of batches without a network, medians over the rounds.

    who: "fitnets" or PLAIN
    first_s: the first epoch, with the decoding of all files where they are decoded once
    later_s: the second epoch
    first_ratio, later_ratio: how many times as long plain PyTorch takes"""

    who: str
    images: int
    rounds: int
    first_s: float
    later_s: float
    first_ratio: float
    later_ratio: float


def measure(count: int, rounds: int, progress: Progress) -> list[InputTimes]:
    """Time the first two epochs of random resized crops of JPEG files, as float32 batches, against a DataLoader with
    Pillow transforms and worker processes.

    count: number of files"""
    epochs_s: dict[str, list[list[float]]] = {"fitnets": [], PLAIN: []}
    with tempfile.TemporaryDirectory() as root:
        files = Path(root, "files")
        _write_files(files, count, progress)
        for number in progress.track(range(rounds), "epochs of photos"):
            epochs_s["fitnets"].append(_own_epochs(files, Path(root, f"store{number}")))
            epochs_s[PLAIN].append(_plain_epochs(files))
    return [
        InputTimes(
            who=who,
            images=count,
            rounds=rounds,
            first_s=statistics.median(first for first, _ in own),
            later_s=statistics.median(later for _, later in own),
            first_ratio=statistics.median(plain[0] / one[0] for one, plain in zip(own, epochs_s[PLAIN], strict=True)),
            later_ratio=statistics.median(plain[1] / one[1] for one, plain in zip(own, epochs_s[PLAIN], strict=True)),
        )
        for who, own in epochs_s.items()
    ]


def _write_files(folder: Path, count: int, progress: Progress) -> None:
    """Write JPEG files, in a sub-folder for each class."""
    from PIL import Image

    for number in progress.track(range(count), "writing JPEG files"):
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(_FILE_SIZE)
        noise = random.integers(-12, 13, (_FILE_SIZE[1], _FILE_SIZE[0], 3))
        pixels = (np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)
        path = folder / f"class{number % _CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=_QUALITY)


def _own_epochs(files: Path, store: Path) -> list[float]:
    """Seconds of the first two epochs from an empty store."""
    config = loading.load(
        [
            "dataset=photos",
            overrides.literal("dataset.path", str(files)),
            overrides.literal("store", str(store)),
            f"dataset.height={_SIDE}",
            f"dataset.width={_SIDE}",
            "teacher=none",
            "student=thin",
            "method=backprop",
            "tracker=none",
            "test=false",
        ]
    )
    started = time.perf_counter()
    where = config.dataset, config.root
    quiet = Terminal(quiet=True)
    photos = splits.load_all(*where, torch.device("cpu"), quiet, splits.fitted_values(*where, quiet))
    views = Views(Augmentation(crop_area=_SMALLEST_AREA, flip=True), 0)
    durations_s = []
    for epoch in range(2):
        for batch in photos.in_view(photos.shuffled(_BATCH, epoch), epoch, views):
            assert batch.images.shape[1:] == (3, _SIDE, _SIDE)
        durations_s.append(time.perf_counter() - started)
        started = time.perf_counter()
    return durations_s


class _FilesWithPillow(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Photos as a user of torchvision reads them: decoded, cropped, resized, mirrored and normalised one by one."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*/*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        from PIL import Image

        with Image.open(self.paths[number]) as picture:
            photo = picture.convert("RGB")
        width, height = photo.size
        area, ratio = torch.empty(2).uniform_(0, 1).tolist()
        area = width * height * (_SMALLEST_AREA + (1 - _SMALLEST_AREA) * area)
        ratio = _NARROWEST * (_WIDEST / _NARROWEST) ** ratio
        across, down = min(width, round((area * ratio) ** 0.5)), min(height, round((area / ratio) ** 0.5))
        left, top = (int(torch.randint(0, most + 1, ())) for most in (width - across, height - down))
        crop = photo.crop((left, top, left + across, top + down)).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        if torch.rand(()) < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
        return image.sub_(mean).div_(std), int(self.paths[number].parent.name.removeprefix("class"))


def _plain_epochs(files: Path) -> list[float]:
    loader = torch.utils.data.DataLoader(
        _FilesWithPillow(files),
        batch_size=_BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=_WORKERS,
        persistent_workers=True,
    )
    durations_s = []
    for _ in range(2):
        started = time.perf_counter()
        for images, _ in loader:
            assert images.shape[1:] == (3, _SIDE, _SIDE)
        durations_s.append(time.perf_counter() - started)
    return durations_s
