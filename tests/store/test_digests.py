"""Digests of files are those of their content, however often they are asked for."""

import hashlib
import os
import time

import pytest

from fitnets.store import digests


@pytest.fixture(autouse=True)
def _another_process():
    digests._of_version.cache_clear()


def settled(path, content: bytes) -> str:
    """The file with this content, as it is a while after it was written; its SHA-256."""
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def old(monkeypatch):
    """Files are old enough for their time stamps to be trusted."""
    monkeypatch.setattr(digests, "_SETTLED_S", -1.0)


def test_a_later_process_does_not_read_the_file_again(tmp_path, old, monkeypatch):
    expected = settled(tmp_path / "file", b"images")
    assert digests.of_file(tmp_path / "file", tmp_path / "store") == expected
    digests._of_version.cache_clear()
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert digests.of_file(tmp_path / "file", tmp_path / "store") == expected


def test_a_changed_file_is_read_again_although_size_and_time_of_change_are_kept(tmp_path, old):
    path = tmp_path / "file"
    settled(path, b"images")
    stat = path.stat()
    digests.of_file(path, tmp_path / "store")
    expected = settled(path, b"IMAGES")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digests.of_file(path, tmp_path / "store") == expected


def test_the_digest_of_a_file_that_was_just_written_is_not_remembered(tmp_path):
    settled(tmp_path / "file", b"images")
    digests.of_file(tmp_path / "file", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_large_file_costs_a_process_one_reading(tmp_path):
    path = tmp_path / "file"
    settled(path, bytes(50_000_000))
    times = []
    for _ in range(2):
        started = time.perf_counter()
        digests.of_file(path, None)
        times.append(time.perf_counter() - started)
    assert times[1] < times[0] / 5
