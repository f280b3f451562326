"""Broken images are all named with their reasons before a split is drawn, or are left out with a note."""

import json
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitnets.composition import loading
from fitnets.data import splits
from fitnets.data.reading import encoded_image, examined
from fitnets.data.reading import folder as folders
from fitnets.data.reading.decoding import BrokenImages
from fitnets.errors import ConfigError
from support.datasets import CPU, SILENCE, hub_images
from support.made_files import BRIEF, folder, of_folder, of_tables, png, shards, table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder(tmp_path / "images", count=6)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge() -> bytes:
    """A PNG file that claims 60000 x 60000 pixels in a hundred bytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def noisy_jpeg() -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def spoil(root: Path) -> dict[str, str]:
    """Write files that are no usable images. Returns a part of the reason for each, by the name in messages."""
    contents = {
        "a/empty.png": (b"", "it is empty"),
        "a/lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer"),
        "b/page.webp": (b"\n<!DOCTYPE html>\n<html>", "an HTML page"),
        "b/half.jpg": (noisy_jpeg()[:900], "truncated: its end is missing"),
        "b/text.bmp": (b"hello", "no image in a format that Pillow reads"),
        "c/huge.png": (huge(), "DecompressionBombError"),
        "c/line\nbreak.png": (b"hello", "no image in a format"),
    }
    for name, (content, _) in contents.items():
        (root / name).write_bytes(content)
    os.symlink("/nowhere/x.png", root / "a" / "link.png")
    os.symlink("loop.png", root / "a" / "loop.png")
    os.mkfifo(root / "a" / "pipe.png")
    (root / "b" / "folder.png").mkdir()
    with open(os.fsencode(root) + b"/c/caf\xe9.png", "wb") as file:
        file.write(png())
    Image.new("F", (9, 9)).save(root / "c" / "float.tif")
    return {name.replace("\n", "\\n"): reason for name, (_, reason) in contents.items()} | {
        "a/link.png": "a broken link to /nowhere/x.png",
        "a/loop.png": "Too many levels of symbolic links",
        "a/pipe.png": "not a regular file but a pipe",
        "b/folder.png": "a folder, not a file",
        "c/caf\\xe9.png": "its name is not UTF-8: rename it",
        "c/float.tif": "32-bit pixels",
    }


class TestFolder:
    def test_all_broken_images_are_named_before_a_split_is_drawn(self, command, root):
        expected = spoil(root)
        finished = command("dataset=folder", f"dataset.path={root}", *BRIEF)
        assert finished.code == 1
        assert "Traceback" not in finished.err + finished.out
        (line,) = finished.err.splitlines()
        for name, reason in expected.items():
            assert f"{name} ({reason}" in line
        assert f"{len(expected)} of {18 + len(expected)} images cannot be used" in line
        assert line.endswith("give dataset.skip_broken=true to leave them out")
        assert not (root / "split.json").exists()

    def test_broken_images_are_left_out_with_a_note(self, root, tmp_path):
        whole = of_folder(root, f"dataset.split_file={tmp_path / 'whole.json'}")
        expected = spoil(root)
        summary = of_folder(root, "dataset.skip_broken=true")
        assert summary[:3] == whole[:3]
        assert summary.digest == whole.digest  # equal images in an equal split
        assert f"{len(expected)} of {18 + len(expected)} images cannot be used and are left out" in summary.notes
        assert (
            json.loads((root / "split.json").read_text())["train"]
            == json.loads((tmp_path / "whole.json").read_text())["train"]
        )
        with pytest.raises(BrokenImages):
            of_folder(root)

    def test_skip_broken_changes_nothing_without_broken_images(self, root, tmp_path, monkeypatch):
        whole = of_folder(root)
        monkeypatch.setattr(folders, "decode", lambda *_: pytest.fail("decoded again"))
        assert of_folder(root, "dataset.skip_broken=true") == whole

    def test_broken_images_of_all_splits_are_named_together(self, tmp_path):
        for part in ("train", "val", "test"):
            folder(tmp_path / "images" / part)
            (tmp_path / "images" / part / "a" / "bad.png").write_bytes(b"bad")
        with pytest.raises(BrokenImages, match=r"3 of 39 .*train/a/bad.*val/a/bad.*test/a/bad"):
            of_folder(tmp_path / "images")
        assert of_folder(tmp_path / "images", "dataset.skip_broken=true")[:3] == (12, 12, 12)

    def test_a_saved_split_may_hold_images_that_broke_since(self, root):
        of_folder(root)
        (root / "a" / "0.png").write_bytes(b"broken later")
        with pytest.raises(BrokenImages, match=r"1 of 18 images cannot be used: a/0\.png"):
            of_folder(root)
        assert sum(of_folder(root, "dataset.skip_broken=true")[:3]) == 17

    def test_repaired_images_are_used_again(self, root):
        broken = root / "a" / "bad.png"
        broken.write_bytes(b"bad")
        with pytest.raises(BrokenImages):
            of_folder(root)
        broken.write_bytes(png())
        assert sum(of_folder(root)[:3]) == 19

    def test_a_class_of_broken_images_is_refused(self, root):
        for path in (root / "b").iterdir():
            path.write_bytes(b"bad")
        with pytest.raises(
            ConfigError, match="class b has 0 images beside 6 that cannot be used and needs one each for"
        ):
            of_folder(root, "dataset.skip_broken=true")

    def test_a_file_without_read_permission_is_named(self, root, monkeypatch):
        path_open = Path.open

        def open_or_refuse(path, *a, **k):
            if path.name == "3.png":
                raise PermissionError(13, "Permission denied")
            return path_open(path, *a, **k)

        monkeypatch.setattr(Path, "open", open_or_refuse)
        with pytest.raises(BrokenImages, match=r"3 of 18 images .*: a/3\.png \(Permission denied\); b/3\.png"):
            of_folder(root)

    @pytest.mark.parametrize(
        "error", [MemoryError(), IndexError("list index"), struct.error("unpack"), RecursionError()]
    )
    def test_any_error_of_a_decoder_becomes_the_reason(self, root, monkeypatch, error):
        def fails(_picture):
            raise error

        monkeypatch.setattr(encoded_image, "pixels", lambda picture: fails(picture))
        monkeypatch.setattr(Image.Image, "load", fails)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
        reason = "more memory than there is" if isinstance(error, MemoryError) else type(error).__name__
        with pytest.raises(BrokenImages, match=rf"18 of 18 images cannot be used: a/0\.png \(.*{reason}"):
            of_folder(root)

    def test_all_images_are_decoded_once(self, root, monkeypatch):
        decoded = []
        open_image = encoded_image.open_image
        monkeypatch.setattr(
            encoded_image, "open_image", lambda path, channels: (decoded.append(path), open_image(path, channels))[1]
        )
        of_folder(root)
        of_folder(root)
        assert len(decoded) == 18

    def test_images_are_examined_without_a_store(self, root):
        config = loading.load(["dataset=folder", f"dataset.path={root}"])
        result = examined.examine(config.dataset, folders.contents(config.dataset), None)
        assert (len(result.images), result.report.total) == (18, 18)


def exif(*entries: bytes) -> bytes:
    return b"Exif\0\0II" + struct.pack("<HLH", 42, 8, len(entries)) + b"".join(entries) + bytes(4)


TURNED = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("block", "size", "unread"),
    [
        (exif(TURNED), (10, 20), False),
        # Pillow cannot write this block again
        (exif(struct.pack("<HHL", 0x0100, 2, 4) + b"abc\0", TURNED), (10, 20), False),
        (exif(TURNED, struct.pack("<HHLL", 0x011A, 5, 1, 99_999)), (10, 20), False),
        (exif(struct.pack("<HHL", 0x0112, 2, 4) + b"abc\0"), (20, 10), False),
        (b"Exif\0\0XX*\0garbage", (20, 10), True),
        (b"Exif\0\0II", (20, 10), True),
    ],
)
def test_an_image_with_a_wrong_exif_block_is_still_used(form, block, size, unread):
    file = BytesIO()
    Image.new("RGB", (20, 10)).save(file, form, exif=block)
    with encoded_image.without_warnings():
        opened = encoded_image.open_image(file.getvalue(), 3)
    assert opened.picture.size == size
    assert opened.unoriented == (unread and form != "JPEG")  # Pillow reads a wrong block of a JPEG as an empty one


class TestTables:
    ROWS = (b"nope", None, b"", png()[:50], b"version https://git-lfs.github.com/spec/v1")

    def tables(self, root: Path) -> Path:
        for split, count in (("train", 30), ("test", 9)):
            rows = [*self.ROWS, *(png(i) for i in range(count - len(self.ROWS)))]
            table(root / f"{split}-00000-of-00001.parquet", rows, [0, 1, 2] * (count // 3))
        return root

    def test_broken_rows_of_all_splits_are_named_together(self, tmp_path):
        with pytest.raises(BrokenImages) as raised:
            of_tables(self.tables(tmp_path / "made"))
        message = str(raised.value)
        assert (
            "10 of 39 images cannot be used: row 0 of train (no image in a format that Pillow reads); row 1" in message
        )
        for reason in ("row 1 of train (it holds no image)", "row 2 of test (it is empty)", "row 4 of test (a Git LFS"):
            assert reason in message

    def test_broken_rows_are_left_out_with_their_labels(self, tmp_path):
        summary = of_tables(self.tables(tmp_path / "made"), skip_broken=True)
        assert (summary.train + summary.valid, summary.test) == (25, 4)
        assert "train: 5 of 30 images cannot be used and are left out" in summary.notes
        assert "test: 5 of 9 images cannot be used" in summary.notes
        loaded = splits.load(hub_images(tmp_path / "made", skip_broken=True), tmp_path / "store", CPU, SILENCE)
        assert loaded.train.labels.tolist() == ([0, 1, 2] * 10)[5:]
        with pytest.raises(BrokenImages):  # images stored with skip_broken=true are not used without it
            of_tables(tmp_path / "made")

    def test_skip_broken_changes_nothing_without_broken_images(self, tmp_path):
        root = shards(shards(tmp_path / "made", "train", 2, 12), "test", 1)
        assert of_tables(root, skip_broken=True) == of_tables(root)

    def test_an_image_of_another_size_counts_as_broken(self, tmp_path):
        file = BytesIO()
        Image.new("L", (7, 7)).save(file, "PNG")
        rows = [png(i) for i in range(29)] + [file.getvalue()]
        for split in ("train", "test"):
            table(tmp_path / "made" / f"{split}-00000-of-00001.parquet", rows, [0, 1, 2] * 10)
        with pytest.raises(BrokenImages, match=r"row 29 of train \(7x7 pixels, and dataset.height and width are 4x5\)"):
            of_tables(tmp_path / "made")


def test_two_whole_runs_leave_broken_images_out(command, root):
    (root / "a" / "zz.png").write_bytes(b"no image")
    words = ["dataset=folder", f"dataset.path={root}", "dataset.skip_broken=true", *BRIEF]
    for seed in (0, 1):
        finished = command(*words, f"seed={seed}")
        assert finished.code == 0, finished.err
        assert "1 of 19 images cannot be used and are left out" in finished.out
