"""Images that stay in 8 bits, mapped from files or in the memory of a GPU, and become floats batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitnets.kernels import lookup


class Images(Protocol):
    """The images of a data set as networks get them, addressed by row. A tensor (N, C, H, W) is such a set."""

    @property
    def device(self) -> torch.device:
        """The device of the images that `__getitem__` returns."""

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)"""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """The images of some rows, (len(rows), C, H, W) float32. rows: on the same device."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Some images of an array, which is usually mapped from a file."""

    array: NDArray[np.uint8]
    """(M, C, H, W)"""
    rows: NDArray[np.int64] | None = None
    """(N,): places of the images in the array; None: all of the array, in its order"""

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)"""
        return (len(self), *self.array.shape[1:])

    def __getitem__(self, some: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy some of the images out of the array."""
        images: NDArray[np.uint8] = self.array[some if self.rows is None else self.rows[some]]
        return images


class EightBitImages:
    """The images of several parts of a data set, one part after the other, with elementwise preprocessing.

    On the CPU the images stay where their parts have them, mapped from files; a GPU gets a copy of all."""

    def __init__(self, parts: Sequence[StoredRows], table: Tensor, device: torch.device):
        """parts: the images of each part, (N, C, H, W).
        table: (C, 256) float32, what becomes of each pixel value in each channel.
        device: where batches are needed."""
        self.shape = torch.Size((sum(map(len, parts)), *parts[0].array.shape[1:]))
        self.device = device
        self._table = table.to(device).contiguous()
        self._arrays = [torch.from_numpy(part.array) for part in parts]
        rows = [torch.arange(len(part)) if part.rows is None else torch.from_numpy(part.rows) for part in parts]
        if device.type != "cpu":
            self._arrays = [torch.cat([array[some] for array, some in zip(self._arrays, rows, strict=True)]).to(device)]
            rows = [torch.arange(len(self), device=device)]
        self._row = torch.cat(rows)
        """(N,): place of each image in its array"""
        self._array = torch.repeat_interleave(torch.tensor([len(some) for some in rows], device=device))
        """(N,): number of the array that holds each image"""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        if self.device.type == "cpu":
            images = lookup.images(self._arrays, self._array[rows], self._row[rows], self._table)
            if images is not None:
                return images
        pixels = self._pixels(rows)
        first = 256 * torch.arange(len(self._table), device=self.device, dtype=torch.int32).view(1, -1, 1, 1)
        return self._table.flatten()[pixels + first]

    def _pixels(self, rows: Tensor) -> Tensor:
        """(len(rows), C, H, W) uint8: the images of some rows."""
        array, row = self._array[rows], self._row[rows]
        if len(self._arrays) == 1:
            return self._arrays[0][row]
        pixels = torch.empty((len(rows), *self.shape[1:]), dtype=torch.uint8, device=self.device)
        for number, images in enumerate(self._arrays):
            pixels[array == number] = images[row[array == number]]
        return pixels
