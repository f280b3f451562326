"""Labelled images in memory, and which of them become another split: fixed by a seed."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Raw = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""images (N, C, H, W) as decoded, labels (N,)"""
Track = Callable[[range, str], Iterable[int]]
"""Shows the progress through a range under a title"""


class Watcher(Protocol):
    """Who is told of long work."""

    def track(self, items: range, what: str, /) -> Iterable[int]:
        """The items, with the progress through them shown under a title."""

    def say(self, text: str, /) -> None: ...


_IMBALANCE = 10
_LISTED = 5


def class_notes(names: list[str], counts: dict[str, list[int]]) -> Iterator[str]:
    """Sentences about classes without images, and classes with few, for the plan and for `fitnets doctor`.

    names: in the order of the labels. counts: images of each class, by split; `train` is one of them."""
    for split, of_split in counts.items():
        empty = [name for name, count in zip(names, of_split, strict=True) if count == 0]
        if empty:
            few = ", ".join(empty[:_LISTED]) + f", ... ({len(empty)} classes)" * (len(empty) > _LISTED)
            yield f"{split}: no image of {few}: nothing is learnt or known of these classes there"
    if told := imbalance(names, counts["train"]):
        yield told


def imbalance(names: list[str], counts: list[int]) -> str | None:
    """A note for a class that has ten times as many training images as another. counts: by class; those without
    images are left out."""
    present = [count for count in counts if count > 0]
    if not present or _IMBALANCE * min(present) > max(present):
        return None
    fewest, most = min(present), max(present)
    rare, common = (names[counts.index(count)] for count in (fewest, most))
    return (
        f"{common} has {most} training images and {rare} {fewest}: accuracy hides how the rare ones fare, and who "
        f"always answers {common} is right in {100 * most / sum(counts):.0f} %"
    )


def proportional_draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.bool_]:
    """A mask of `count` random rows, each class giving its share."""
    position = np.empty(len(labels))
    generator = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        position[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    mask = np.zeros(len(labels), dtype=bool)
    mask[np.argsort(position, kind="stable")[:count]] = True
    return mask


def equal_draw(labels: NDArray[np.int64], each: int, seed: int) -> NDArray[np.bool_]:
    """A mask of random rows, `each` of them of every class. ValueError if a class has too few."""
    mask = np.zeros(len(labels), dtype=bool)
    generator = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) <= each:
            raise ValueError(f"class {label} has {len(rows)} images")
        mask[generator.permutation(rows)[:each]] = True
    return mask
