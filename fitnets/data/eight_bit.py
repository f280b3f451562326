"""Images that stay in 8 bits, mapped from files or in the memory of a GPU, and become floats batch by batch."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitnets.data import resizing
from fitnets.data.placement import Placement
from fitnets.data.resizing import CentreView
from fitnets.kernels import lookup, resize


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
    """Some 8-bit images of an array, which is usually mapped from a file."""

    array: NDArray[np.uint8]
    """(M, C, H, W); with `sizes` (values,): the pixels of all images, one image (C, height, width) after the other"""
    rows: NDArray[np.int64] | None = None
    """(N,): places of the images in the array; None: all of the array, in its order"""
    sizes: NDArray[np.int32] | None = None
    """(M, 2): height and width of each image; None: all images have one size"""
    channels: int = 3
    """of images with sizes of their own"""

    def __len__(self) -> int:
        if self.rows is not None:
            return len(self.rows)
        return len(self.array if self.sizes is None else self.sizes)

    @property
    def bytes(self) -> int:
        """Size of these images, without the others in the array."""
        if self.sizes is None:
            return len(self) * math.prod(self.array.shape[1:])
        return self.channels * int(self.sizes[self.places()].astype(np.int64).prod(axis=1).sum())

    def places(self) -> NDArray[np.int64]:
        """(N,): places of the images in the array."""
        return np.arange(len(self)) if self.rows is None else self.rows

    def starts(self) -> NDArray[np.int64]:
        """(N,): the index in the flattened array at which each image begins."""
        if self.sizes is None:
            starts = self.places() * math.prod(self.array.shape[1:])
        else:
            values = self.channels * self.sizes.astype(np.int64).prod(axis=1)
            starts = (np.cumsum(values) - values)[self.places()]
        return starts.astype(np.int64)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield each image, (C, height, width)."""
        places = self.places()
        if self.sizes is None:
            yield from (self.array[place] for place in places)
            return
        for start, (height, width) in zip(self.starts().tolist(), self.sizes[places].tolist(), strict=True):
            shape = (self.channels, height, width)
            yield self.array[start : start + math.prod(shape)].reshape(shape)


class Pixels:
    """The 8-bit images of several parts of a data set, one part after the other, all in one size.

    On the CPU the images stay where their parts have them, mapped from files. A GPU gets a copy of all, unless they are
    streamed: then it gets the images of each batch."""

    def __init__(
        self, parts: Sequence[StoredRows], view: CentreView, device: torch.device, *, is_streamed: bool = False
    ):
        """parts: the images of each part.
        view: what is shown of images with sizes of their own.
        device: where batches are needed."""
        channels = parts[0].channels if parts[0].sizes is not None else parts[0].array.shape[1]
        self.view, self.device, self.is_streamed = view, device, is_streamed
        self.shape = torch.Size((sum(map(len, parts)), channels, view.height, view.width))
        self.bytes = sum(part.bytes for part in parts)
        """size of all stored images"""
        self.sizes: Tensor | None = None
        """(N, 2): height and width of each stored image; None: they have the size of the view"""
        if parts[0].sizes is not None:
            sizes = [torch.from_numpy(part.sizes[part.places()]) for part in parts if part.sizes is not None]
            self.sizes = torch.cat(sizes).long().to(device)
        self._arrays = [_tensor(part.array).flatten() for part in parts]
        self._rows: Tensor | None = None
        """(N,), sorted: the rows that these images have for callers; None: 0, 1, 2, ..."""
        self._start = torch.cat([torch.from_numpy(part.starts()) for part in parts])
        """(N,): the index in its array at which each image begins"""
        self._array = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts]))
        """(N,): number of the array that holds each image"""
        if device.type != "cpu" and not is_streamed:
            copy = self.fetched(torch.arange(len(self)))
            self._arrays, self._start, self._array = copy._arrays, copy._start, copy._array

    def __len__(self) -> int:
        return self.shape[0]

    def fetched(self, rows: Tensor) -> "Pixels":
        """The images of some rows in the memory of the device. They keep their rows. Threads may call it.

        rows: (n,), in any order, on any device."""
        rows = torch.unique(rows.cpu())
        sizes = self.sizes_of(rows.to(self.device)).cpu()
        lengths = self.shape[1] * sizes.prod(dim=1)
        ends = lengths.cumsum(0)
        pins = self.is_streamed and Placement(self.device.type).pins
        flat = torch.empty(int(lengths.sum()), dtype=torch.uint8, pin_memory=pins)
        for row, end, length in zip(rows.tolist(), ends.tolist(), lengths.tolist(), strict=True):
            start = int(self._start[row])
            flat[end - length : end] = self._arrays[int(self._array[row])][start : start + length]
        some = object.__new__(Pixels)
        some.view, some.device, some.is_streamed = self.view, self.device, False
        some.shape = torch.Size((len(rows), *self.shape[1:]))
        some.bytes = len(flat)
        some.sizes = None if self.sizes is None else sizes.to(self.device)
        some._arrays = [flat.to(self.device, non_blocking=True)]
        some._rows = rows.to(self.device)
        some._start = (ends - lengths).to(self.device)
        some._array = torch.zeros_like(some._start)
        return some

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(len(rows), C, H, W) uint8: the images of some rows, without augmentation."""
        if self.is_streamed and self.device.type != "cpu":
            return self.fetched(rows)[rows]
        if self.sizes is not None:
            return self.crops(rows, self.view.boxes(self.sizes_of(rows)), torch.zeros_like(rows))
        places = self._places(rows)
        array, image = self._array[places], self._start[places] // math.prod(self.shape[1:])
        if len(self._arrays) == 1:
            return self._arrays[0].view(-1, *self.shape[1:])[image]
        pixels = torch.empty((len(rows), *self.shape[1:]), dtype=torch.uint8)
        for number, images in enumerate(self._arrays):
            pixels[array == number] = images.view(-1, *self.shape[1:])[image[array == number]]
        return pixels

    def crops(self, rows: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
        """(len(rows), C, H, W) uint8: a resized crop of each image.

        boxes: (len(rows), 4), top, left, bottom and right in pixels of the stored image.
        mirrored: (len(rows),), 1 for each crop that is shown mirrored, 0 for the others."""
        if self.is_streamed and self.device.type != "cpu":
            return self.fetched(rows).crops(rows, boxes, mirrored)
        shape, interpolation = (self.shape[1], self.view.height, self.view.width), self.view.interpolation
        sizes = self.sizes_of(rows)
        if self.device.type != "cpu":
            pixels, starts = self._arrays[0], self._start[self._places(rows)]
            return resizing.on_gpu(pixels, starts, sizes, boxes, mirrored, shape=shape, interpolation=interpolation)
        addresses = self.addresses(rows)
        crops = resize.crops(addresses, sizes, boxes, mirrored, shape=shape, interpolation=interpolation)
        if crops is None:
            images = [self._image(place) for place in self._places(rows).tolist()]
            crops = resizing.by_pillow(images, boxes, mirrored, shape=shape, interpolation=interpolation)
        return crops

    def sizes_of(self, rows: Tensor) -> Tensor:
        """(len(rows), 2): height and width of each stored image."""
        if self.sizes is not None:
            return self.sizes[self._places(rows)]
        return torch.tensor(self.shape[2:], device=self.device).expand(len(rows), 2)

    def addresses(self, rows: Tensor) -> Tensor:
        """(len(rows),): where each image begins in the memory of the CPU."""
        places = self._places(rows)
        return self._bases[self._array[places]] + self._start[places]

    @cached_property
    def _bases(self) -> Tensor:
        return torch.tensor([array.data_ptr() for array in self._arrays])

    def _places(self, rows: Tensor) -> Tensor:
        """Return the places of some rows among these images."""
        return rows if self._rows is None else torch.searchsorted(self._rows, rows)

    def _image(self, place: int) -> Tensor:
        size = self.shape[2:] if self.sizes is None else self.sizes[place].tolist()
        array, start, shape = self._arrays[int(self._array[place])], int(self._start[place]), (self.shape[1], *size)
        return array[start : start + math.prod(shape)].view(shape)


class EightBitImages:
    """The images of a data set with elementwise preprocessing."""

    def __init__(self, pixels: Pixels, table: Tensor):
        """table: (C, 256) float32, what becomes of each pixel value in each channel."""
        self.pixels = pixels
        self.shape, self.device = pixels.shape, pixels.device
        self._table = table.to(pixels.device).contiguous()

    def __len__(self) -> int:
        return len(self.pixels)

    def fetched(self, rows: Tensor) -> "EightBitImages":
        """The images of some rows in the memory of the device, see `Pixels.fetched`."""
        return EightBitImages(self.pixels.fetched(rows), self._table)

    def __getitem__(self, rows: Tensor) -> Tensor:
        if self.pixels.sizes is None and self.device.type == "cpu":
            images = lookup.images(self.pixels.addresses(rows), self._table, self.shape[1:])
            if images is not None:
                return images
        return self.prepared(self.pixels[rows])

    def prepared(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) float32: preprocessed images. pixels: (N, C, H, W) uint8."""
        if self.device.type == "cpu":
            pixels = pixels.contiguous()
            addresses = pixels.data_ptr() + torch.arange(len(pixels)) * pixels[:1].numel()
            images = lookup.images(addresses, self._table, pixels.shape[1:])
            if images is not None:
                return images
        first = 256 * torch.arange(len(self._table), device=self.device, dtype=torch.int32).view(1, -1, 1, 1)
        return self._table.flatten()[pixels + first]


def _tensor(array: NDArray[np.uint8]) -> Tensor:
    """A tensor that shares the memory of an array. Nothing may write to it: the array may be mapped for reading."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)
