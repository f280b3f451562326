"""The benchmarks of photos: their input against a DataLoader, and streamed photos against photos in memory."""

import json
import sys

import pytest
import torch

from fitnets import cli
from fitnets.bench import photo_input, streaming
from fitnets.data.eight_bit import EightBitImages
from support.datasets import SILENCE


@pytest.fixture
def small(monkeypatch):
    """A few small photos, and few steps."""
    monkeypatch.setattr(photo_input, "_FILE_SIZE", (40, 30))
    monkeypatch.setattr(photo_input, "_BATCH", 4)
    for module in (photo_input, streaming):
        monkeypatch.setattr(module, "_SIDE", 32)
    monkeypatch.setattr(streaming, "_BATCH", 4)
    monkeypatch.setattr(streaming, "_TURN", 2)


def test_the_ratios_are_those_of_each_round(monkeypatch, small):
    own, plain = iter([[3.0, 1.0], [2.0, 1.0], [9.0, 2.0]]), iter([[6.0, 5.0], [8.0, 9.0], [9.0, 6.0]])
    monkeypatch.setattr(photo_input, "_own_epochs", lambda *_: next(own))
    monkeypatch.setattr(photo_input, "_plain_epochs", lambda *_: next(plain))
    ours, theirs = photo_input.measure(4, 3, SILENCE)
    assert (ours.first_s, ours.later_s, ours.first_ratio, ours.later_ratio) == (3.0, 1.0, 2.0, 5.0)
    assert (theirs.first_s, theirs.later_s, theirs.first_ratio, theirs.later_ratio) == (8.0, 6.0, 1.0, 1.0)


def test_the_command_times_both_and_writes_them(monkeypatch, capsys, tmp_path, small):
    path = tmp_path / "photos.json"
    words = ["bench", "--photos", "12", "--rounds", "2", "--streamed", "16", "--steps", "3", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["fitnets", *words])
    assert cli.main() == 0
    shown, written = capsys.readouterr().out, json.loads(path.read_text())
    assert "input of 12 JPEG photos" in shown
    assert "a streamed step" in shown
    assert "fitnet1" not in shown
    assert [entry["who"] for entry in written["photo_input"]] == ["fitnets", "plain PyTorch"]
    (streamed,) = written["streaming"]
    assert streamed["stored_bytes"] == (16 + 4) * 3 * 32 * 32  # one byte a value, with the validation photos
    assert written["steps"] == []


def test_the_photos_of_a_dataloader_are_normalised_crops(tmp_path, small):
    photo_input._write_files(tmp_path, 4, SILENCE)
    images, labels = zip(*photo_input._FilesWithPillow(tmp_path), strict=True)
    assert {(image.dtype, *image.shape) for image in images} == {(torch.float32, 3, 32, 32)}
    assert sorted(labels) == [0, 1, 2, 3]
    assert all(-2.2 < float(image.min()) < float(image.max()) < 2.7 for image in images)


def test_streamed_photos_come_from_the_file_and_the_others_from_memory(monkeypatch, small):
    seen = {}
    monkeypatch.setattr(streaming, "_turns", lambda split, _: seen.setdefault(len(seen), split) and iter(lambda: [], 0))
    monkeypatch.setattr(streaming, "_IN_MEMORY", 8)
    streaming.measure(16, 2, SILENCE)
    streamed, resident = (split.images for split in seen.values())
    assert isinstance(streamed, EightBitImages)
    assert streamed.pixels.is_streamed
    assert (len(streamed.pixels), len(resident.pixels), len(seen[1])) == (16 + 4, 8, 8)
