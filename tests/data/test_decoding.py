"""Decoding writes images to a file as it goes, and goes on after a kill where it was."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from fitnets.composition import loading
from fitnets.data import splits
from fitnets.data.reading import decoding, pixel_file
from fitnets.data.reading import folder as folders
from fitnets.data.reading.encoded_image import BrokenImage, OpenedImage
from fitnets.signals import Stopped
from support.datasets import CPU, SILENCE, Silence, all_images, in_silence
from support.made_files import folder

SHAPE = (3, 2, 2)
OPENED = OpenedImage(None, (2, 2), transparent=False, unoriented=False)
NAMES = [f"row {row}" for row in range(50)]


def pixels(row: int) -> np.ndarray:
    return np.full(SHAPE, row, np.uint8)


def read(row: int):
    if row % 10 == 3:
        raise BrokenImage(f"{row} is broken")
    return pixels(row), OPENED


def decode(place: Path | None, read=read, track=in_silence):
    (images, _), rows, report = decoding.decode(
        NAMES, lambda row: row, read, SHAPE, track=track, title="decoding", folder=place
    )
    return images, rows, report


def stopped_at(row: int):
    """A progress in which a signal arrives when a row has been decoded."""

    def track(rows, _title):
        for number in rows:
            if number == row:
                raise Stopped(2, is_torn=False)
            yield number

    return track


@pytest.mark.parametrize("in_memory", [True, False])
def test_usable_images_come_in_order_and_broken_ones_are_reported(tmp_path, in_memory):
    images, rows, report = decode(None if in_memory else tmp_path)
    assert rows.tolist() == [row for row in range(50) if row % 10 != 3]
    np.testing.assert_array_equal(images, np.stack([pixels(row) for row in rows]))
    assert report.broken == {f"row {row}": f"{row} is broken" for row in range(3, 50, 10)}
    assert [path.name for path in tmp_path.iterdir()] == [] if in_memory else ["images.npy"]
    if not in_memory:
        np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), images)


@pytest.mark.parametrize("killed_at", [0, 1, 4, 27, 49])
def test_a_killed_process_is_continued(tmp_path, monkeypatch, killed_at):
    monkeypatch.setattr(pixel_file, "_SAVE_SECONDS", 0)
    with pytest.raises(Stopped):
        decode(tmp_path, track=stopped_at(killed_at))
    with (tmp_path / "images.npy").open("ab") as file:
        file.write(b"half an im")  # what the disk had of the image that was being written
    again = []
    images, rows, report = decode(tmp_path, lambda row: (again.append(row), read(row))[1])
    assert sorted(again) == list(range(killed_at, 50))
    np.testing.assert_array_equal(images, np.stack([pixels(row) for row in rows]))
    assert len(report.broken) == 5
    assert len(rows) == 45
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_an_error_that_is_no_broken_image_ends_decoding_and_leaves_no_thread(tmp_path):
    def failing(row: int):
        if row == 20:
            raise MemoryError("row 20")
        return read(row)

    before = threading.active_count()
    with pytest.raises(MemoryError, match="row 20"):
        decode(tmp_path, failing)
    assert threading.active_count() == before


def test_the_number_of_threads_changes_nothing(tmp_path):
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(decode(None))
    finally:
        torch.set_num_threads(threads)
    for images, rows, report in results[1:]:
        np.testing.assert_array_equal(images, results[0][0])
        assert (rows.tolist(), report) == (results[0][1].tolist(), results[0][2])


class TestAFolder:
    def load(self, root: Path, store: Path, progress=SILENCE):
        words = ["dataset=folder", f"dataset.path={root}", "dataset.classes=3", "dataset/preprocessing=scale"]
        return splits.load(loading.load(words).dataset, store, CPU, progress)

    def test_its_images_are_stored_once(self, tmp_path):
        root = folder(tmp_path / "images", count=10)
        data = self.load(root, tmp_path / "store")
        files = list((tmp_path / "store").glob("data/*/images.npy"))
        assert [len(np.load(file)) for file in files] == [30]
        assert len(data.train) + len(data.valid) < 30
        assert all_images(data.train).shape[1:] == (3, 32, 32)

    def test_the_parts_of_an_earlier_version_are_used(self, tmp_path):
        """Earlier versions stored the images of each part a second time."""
        root = folder(tmp_path / "images", count=10)
        data = self.load(root, tmp_path / "store")
        for place in (tmp_path / "store").glob("data/*/rows.npy"):
            (whole,) = (tmp_path / "store").glob("data/*/images.npy")
            np.save(place.with_name("part.npy"), np.load(whole)[np.load(place)])
            place.unlink()
        for place in (tmp_path / "store").glob("data/*/part.npy"):
            place.rename(place.with_name("images.npy"))
        earlier = self.load(root, tmp_path / "store")
        assert earlier.digest == data.digest
        assert torch.equal(all_images(earlier.train), all_images(data.train))

    def test_a_stopped_process_is_continued(self, tmp_path, monkeypatch):
        monkeypatch.setattr(pixel_file, "_SAVE_SECONDS", 0)
        root, store = folder(tmp_path / "images", count=10), tmp_path / "store"
        real, seen = folders._resized, []
        monkeypatch.setattr(folders, "_resized", lambda *given: (seen.append(given), real(*given))[1])

        class Stopping(Silence):
            track = staticmethod(stopped_at(16))

        with pytest.raises(Stopped):
            self.load(root, store, Stopping())
        (half_made,) = store.glob("data/.*.partial-*")
        assert json.loads((half_made / "decoding.json").read_text())["images"] == 16
        seen.clear()
        data = self.load(root, store)
        assert len(seen) == 14
        assert not list(store.glob("data/.*.partial-*"))
        assert torch.equal(all_images(data.train), all_images(self.load(root, tmp_path / "other").train))
