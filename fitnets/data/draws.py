"""Random draws of rows by class, fixed by a seed."""

import numpy as np
from numpy.typing import NDArray


def proportional_draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.bool_]:
    """A mask of `count` random rows, of each class in proportion to its size."""
    position = np.empty(len(labels))
    generator = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        position[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    mask = np.zeros(len(labels), dtype=bool)
    mask[np.argsort(position, kind="stable")[:count]] = True
    return mask


def equal_draw(labels: NDArray[np.int64], each: int, seed: int) -> NDArray[np.bool_]:
    """A mask of random rows, `each` of every class. Raises ValueError if this takes all rows of a class."""
    mask = np.zeros(len(labels), dtype=bool)
    generator = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) <= each:
            raise ValueError(f"class {label} has {len(rows)} images")
        mask[generator.permutation(rows)[:each]] = True
    return mask
