"""The digest of a file matches its present content, and an unchanged file is not read again."""

import hashlib
import os

import pytest

from fitnets.store import digests


@pytest.fixture(autouse=True)
def _fresh_process():
    """Clear the process's cache of digests."""
    digests._of_version.cache_clear()


def write(path, content: bytes) -> str:
    """Write the file and return the SHA-256 of its content."""
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def old_files(monkeypatch):
    """All files count as old enough for their time stamps to be trusted."""
    monkeypatch.setattr(digests, "_SETTLED_S", -1.0)


def test_a_later_process_does_not_read_the_file_again(tmp_path, old_files, monkeypatch):
    expected = write(tmp_path / "file", b"images")
    assert digests.of_file(tmp_path / "file", tmp_path / "store") == expected
    digests._of_version.cache_clear()
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert digests.of_file(tmp_path / "file", tmp_path / "store") == expected


def test_a_changed_file_of_same_size_and_modification_time_is_read_again(tmp_path, old_files):
    path = tmp_path / "file"
    write(path, b"images")
    stat = path.stat()
    digests.of_file(path, tmp_path / "store")
    expected = write(path, b"IMAGES")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digests.of_file(path, tmp_path / "store") == expected


def test_the_digest_of_a_file_that_was_just_written_is_not_remembered(tmp_path):
    write(tmp_path / "file", b"images")
    digests.of_file(tmp_path / "file", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_process_reads_a_file_once(tmp_path, monkeypatch):
    read, real = [], hashlib.file_digest
    monkeypatch.setattr("hashlib.file_digest", lambda file, name: read.append(file.name) or real(file, name))
    write(path := tmp_path / "file", b"images")
    assert digests.of_file(path, None) == digests.of_file(path, None)
    assert read == [str(path)]
    write(path, b"other images")
    digests.of_file(path, None)
    assert len(read) == 2
