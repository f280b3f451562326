"""Images that are read ahead by a thread come in order, with errors in their turn, and leave no thread behind."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from fitnets.config import Augmentation
from fitnets.data import stored_images
from fitnets.data.augmentation import Views
from fitnets.data.eight_bit import EightBitImages, Pixels
from fitnets.data.prefetching import prefetched
from fitnets.data.splits import Split
from support.datasets import CPU
from support.photos import AUGMENTATIONS, POOL, photos


def threads() -> int:
    return sum(thread.name.startswith("prefetching") for thread in threading.enumerate())


def streamed(images: EightBitImages) -> EightBitImages:
    """The same images, streamed."""
    pixels = object.__new__(Pixels)
    pixels.__dict__.update(images.pixels.__dict__, is_streamed=True)
    return EightBitImages(pixels, images._table)


@pytest.mark.parametrize("name", [*AUGMENTATIONS, "none", "flip"])
@pytest.mark.parametrize("uniform_size", [False, True])
def test_streamed_batches_have_the_bits_of_resident_ones(name, uniform_size):
    augmentation = Augmentation(**AUGMENTATIONS.get(name, {"flip": name == "flip"}))
    views, images = Views(augmentation, 5), photos(uniform_size=uniform_size)
    labels = torch.arange(30) % 4
    batches = [
        list(Split(one, labels, POOL).in_view(torch.split(torch.randperm(30), 7), 3, views))
        for one in (images, streamed(images))
        if torch.manual_seed(1)
    ]
    assert len(batches[0]) == len(batches[1]) == 5
    for resident, read in zip(*batches, strict=True):
        assert torch.equal(resident.images, read.images)
        assert torch.equal(resident.labels, read.labels)
        assert torch.equal(resident.rows, read.rows)
        if resident.mixture is not None:
            assert torch.equal(resident.mixture.labels, read.mixture.labels)
    assert threads() == 0


def test_fetched_images_keep_their_rows_and_need_no_file(monkeypatch):
    images = photos()
    some = images.fetched(torch.tensor([20, 3, 20, 7]))
    expected = images[torch.tensor([7, 20, 3])]
    for array in images.pixels._arrays:
        array.zero_()
    assert torch.equal(some[torch.tensor([7, 20, 3])], expected)
    assert len(some) == 3


def test_an_error_in_the_thread_comes_in_its_turn():
    def work(item: int) -> int:
        if item == 5:
            raise OSError("row 5 of photos.npy")
        return item

    results = prefetched(range(10), work, 3)
    assert [next(results)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="row 5 of"):
        next(results)
    assert threads() == 0


def test_early_stops_leave_no_thread_and_read_little_ahead():
    for _ in range(50):
        begun = []
        batches = prefetched(range(1000), lambda item, begun=begun: begun.append(item), 3)
        next(batches)
        batches.close()
        assert len(begun) <= 4
    assert threads() == 0


def test_work_is_done_ahead():
    begun = []
    batches = prefetched(range(10), begun.append, 3)
    next(batches)
    deadline = time.monotonic() + 5
    while len(begun) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert begun == [0, 1, 2, 3]
    batches.close()


@pytest.mark.parametrize(("left", "is_streamed"), [(10**9, False), (50_000, True)])
def test_auto_streams_what_takes_more_than_half_of_the_memory_that_is_left(monkeypatch, left, is_streamed):
    monkeypatch.setattr("fitnets.system.resources.memory_left", lambda: left)
    rows = photos().pixels
    part = SimpleNamespace(images=SimpleNamespace(bytes=rows.bytes))
    made = []
    monkeypatch.setattr(stored_images, "Pixels", lambda *_given, is_streamed: made.append(is_streamed))
    monkeypatch.setattr(stored_images, "centre_view", lambda _: None)
    stored_images.pixels(None, [part], CPU, "auto")
    assert made == [is_streamed]
