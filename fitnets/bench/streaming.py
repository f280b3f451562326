"""Times training on photos that are streamed from the disk, against training on photos in memory.

The photos are noise that is made here, the same every time. Both kinds of steps take turns: read the ratio.
"""

import operator
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from fitnets.composition import loading, overrides
from fitnets.config import Augmentation, Precision
from fitnets.data import splits
from fitnets.data.augmentation import Views
from fitnets.data.eight_bit import EightBitImages
from fitnets.data.splits import Batch, Split
from fitnets.machine import devices
from fitnets.models.residual import PooledSoftmaxLayer, ResidualBlock
from fitnets.progress import Progress
from fitnets.system import resources

_CLASSES = 4
_SIDE = 224
_SMALLEST_AREA = 0.08
"""smallest share of a photo that a random crop shows"""
_BATCH = 32
_TURN = 20
"""steps of one kind before as many of the other"""
_IN_MEMORY = 1000
"""photos of the steps on photos in memory"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """Training on a large set of photos that is streamed from the disk, against training on photos in memory.

    stored_bytes: size of the stored photos, one byte a value
    decoding_s: seconds until all are stored
    steps: number of steps of each kind
    streamed_s, resident_s: seconds of a step, medians of the turns
    ratio: the seconds of a turn of streamed steps divided by those of the following turn of the others, median
    anonymous_bytes: largest memory of the process that is not mapped from files, the network's included; None where
        the system does not tell
    memory_limit_bytes: limit of that memory, by `ulimit -d`; None: there is none"""

    images: int
    precision: Precision
    stored_bytes: int
    decoding_s: float
    steps: int
    streamed_s: float
    resident_s: float
    ratio: float
    anonymous_bytes: int | None
    memory_limit_bytes: int | None


class MadePhotos:
    """A data set of noise, the same whenever it is read."""

    def __init__(self, images: int):
        self.images = images
        self.classes = [f"class{number}" for number in range(_CLASSES)]

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], int]:
        noise = np.frombuffer(np.random.default_rng(number).bytes(3 * _SIDE * _SIDE), np.uint8)
        return noise.reshape(3, _SIDE, _SIDE), number % _CLASSES


def made_photos(split: str, images: int) -> MadePhotos | None:
    """A function for `dataset=custom`. images: number of training photos."""
    return {"train": MadePhotos(images), "validation": MadePhotos(_CLASSES)}.get(split)


def measure(images: int, steps: int, progress: Progress) -> Streaming:
    """Store photos, then time training steps of a ResNet-18 on random ones.

    images: number of photos
    steps: number of timed steps of each kind, rounded up to whole turns"""
    with tempfile.TemporaryDirectory() as root:
        config = loading.load(
            [
                "dataset=custom",
                f"dataset.target={__name__}.made_photos",
                f"dataset.args={{images: {images}}}",
                "dataset.version=1",
                "student=thin",
                "method=backprop",
                "test=false",
                overrides.literal("store", root),
            ]
        )
        started = time.perf_counter()
        data = splits.load(config.dataset, config.root, torch.device("cpu"), progress, keep="stream")
        decoding_s = time.perf_counter() - started
        views = data.views(Augmentation(crop_area=_SMALLEST_AREA, flip=True))
        precision = devices.precision(config, torch.device("cpu"))
        step = _training_step(precision)
        kinds = {"streamed": _turns(data.train, views), "resident": _turns(_in_memory(data.train), views)}
        durations_s: dict[str, list[float]] = {kind: [] for kind in kinds}
        anonymous_bytes: list[int | None] = []
        for number in progress.track(range(1 + -(-steps // _TURN)), "steps"):
            for kind, turns in kinds.items():
                turn_s = _timed(step, next(turns))
                if number:  # the first turn warms up
                    durations_s[kind].append(turn_s)
                anonymous_bytes.append(resources.anonymous_memory())
    return Streaming(
        images=images,
        precision=precision,
        memory_limit_bytes=_memory_limit(),
        stored_bytes=_stored(data.train).pixels.bytes,
        decoding_s=decoding_s,
        steps=_TURN * len(durations_s["streamed"]),
        streamed_s=statistics.median(durations_s["streamed"]) / _TURN,
        resident_s=statistics.median(durations_s["resident"]) / _TURN,
        ratio=statistics.median(map(operator.truediv, durations_s["streamed"], durations_s["resident"])),
        anonymous_bytes=max((size for size in anonymous_bytes if size is not None), default=None),
    )


def _memory_limit() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _stored(split: Split) -> EightBitImages:
    assert isinstance(split.images, EightBitImages)
    return split.images


def _in_memory(split: Split) -> Split:
    """The first photos of a split, copied into memory."""
    rows = split.rows[:_IN_MEMORY]
    return replace(split, images=_stored(split).fetched(rows), rows=rows)


def _turns(split: Split, views: Views) -> Iterator[Iterator[Batch]]:
    """Yield the batches of each turn, of photos in random order."""
    for number in count():
        random_rows = chain.from_iterable(split.shuffled(_BATCH, seed) for seed in count(1000 * number))
        yield split.in_view(islice(random_rows, _TURN), number, views)


def _timed(step: Callable[[Batch], None], batches: Iterable[Batch]) -> float:
    """Seconds of steps on some batches, with the time in which the batches are made."""
    started = time.perf_counter()
    for batch in batches:
        step(batch)
    return time.perf_counter() - started


def _training_step(precision: Precision) -> Callable[[Batch], None]:
    """A step of plain PyTorch that trains a ResNet-18."""
    torch.manual_seed(0)
    network = _resnet18().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(batch.images.contiguous(memory_format=torch.channels_last))
        F.cross_entropy(logits.float(), batch.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _resnet18() -> nn.Module:
    """ResNet-18 (He et al., 2016, Table 1)."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    shape: tuple[int, ...] = (64, _SIDE // 4, _SIDE // 4)
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for block_stride in (stride, 1):
            block = ResidualBlock(shape, channels, block_stride, pad_shortcut=False)
            layers.append(block)
            shape = block.out_shape
    return nn.Sequential(*layers, PooledSoftmaxLayer(shape, _CLASSES, normalized=False))
