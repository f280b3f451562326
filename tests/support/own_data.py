"""A data set as a user gives it: `dataset=custom dataset.target=support.own_data.make`."""

import numpy as np


class Noise:
    """Images of 8x8 random pixels, of two classes."""

    classes = ("dark", "light")

    def __init__(self, count: int, seed: int):
        self.pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        return self.pixels[number], number % 2


def make(split: str) -> Noise | None:
    return Noise(40, seed=0) if split == "train" else None
