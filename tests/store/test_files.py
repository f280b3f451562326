"""Files and folders of a store are complete or absent."""

import os
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn

from fitnets.errors import DamagedError
from fitnets.store import directories, files, layout, locks, weights

DAMAGED_RESULTS = ['{"status": "fin', "[]", '{"value": 1}']
"""contents of a `result.json` that shows no status"""


class Stop(Exception):
    """Ends a block early."""


def test_a_written_file_replaces_the_old_one(tmp_path):
    files.write_json(tmp_path / "a" / "b.json", {"value": 1})
    files.write_json(tmp_path / "a" / "b.json", {"value": 0.1 + 0.2})
    assert files.read_json(tmp_path / "a" / "b.json") == {"value": 0.1 + 0.2}  # full precision
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    files.write_json(tmp_path / "b.json", {"value": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "b.json", {"value": float("nan")})
    assert files.read_json(tmp_path / "b.json") == {"value": 1}


def test_a_failed_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def raise_full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", raise_full_disk)
    with pytest.raises(OSError, match="No space"):
        files.write(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot allocate beforehand")
def test_an_allocated_file_occupies_its_space_on_the_disk(tmp_path):
    path = tmp_path / "mapped.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (1000, 1000))
    files.allocate(path)
    assert 512 * path.stat().st_blocks >= path.stat().st_size


def test_a_removed_folder_is_renamed_before_its_files_are_removed(tmp_path, monkeypatch):
    """A process that is killed while it removes the files leaves no incomplete folder under its name."""
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "file").touch()

    def stop(path, **_named):
        assert not (tmp_path / "final").exists()
        raise Stop

    monkeypatch.setattr("shutil.rmtree", stop)
    with pytest.raises(Stop):
        locks.remove(tmp_path / "final")


def test_a_folder_appears_when_it_is_complete_or_not_at_all(tmp_path):
    with suppress(Stop), directories.fill(tmp_path / "final") as partial:
        (partial / "file").write_text("half")
        assert not (tmp_path / "final").exists()
        raise Stop
    assert list(tmp_path.iterdir()) == []
    with directories.fill(tmp_path / "final") as partial:
        (partial / "file").write_text("whole")
    assert (tmp_path / "final" / "file").read_text() == "whole"


def test_the_first_of_two_that_fill_a_folder_wins(tmp_path):
    with directories.fill(tmp_path / "final") as slow:
        (slow / "file").write_text("second")
        with directories.fill(tmp_path / "final") as fast:
            (fast / "file").write_text("first")
    assert (tmp_path / "final" / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


class TestReplacing:
    """A new run in the directory of an earlier one."""

    def finish(self, directory, value):
        with directories.replace_run(directory):
            files.write_json(directory / "result.json", {"status": "finished", "value": value})

    def value(self, directory):
        return files.read_json(directory / "result.json")["value"]

    def test_an_earlier_run_survives_a_killed_successor(self, tmp_path):
        """A killed process cannot restore the backup; the next process restores or replaces it."""
        directory = tmp_path / "run"
        self.finish(directory, 1)
        killed = directories.replace_run(directory)
        killed.__enter__()
        files.write_json(directory / "metrics.jsonl", {})
        with suppress(Stop), directories.replace_run(directory):
            assert not (directory / "metrics.jsonl").exists()
            raise Stop
        assert self.value(directory) == 1
        self.finish(directory, 2)
        assert self.value(directory) == 2
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_an_incomplete_backup_never_replaces_a_finished_run(self, tmp_path):
        directory = tmp_path / "run"
        self.finish(directory, 2)
        layout.backup_path(directory).mkdir()  # half removed when the process was killed
        with suppress(Stop), directories.replace_run(directory):
            raise Stop
        assert self.value(directory) == 2

    def test_a_failed_run_stays_until_another_replaces_it(self, tmp_path):
        directory = tmp_path / "run"
        with suppress(Stop), directories.replace_run(directory):
            files.write_json(directory / "result.json", {"status": "failed"})
            raise Stop
        assert files.read_json(directory / "result.json") == {"status": "failed"}
        self.finish(directory, 3)
        assert self.value(directory) == 3

    @pytest.mark.parametrize("damaged", DAMAGED_RESULTS)
    def test_a_damaged_run_is_replaced(self, tmp_path, damaged):
        directory = tmp_path / "run"
        self.finish(directory, 1)
        (directory / "result.json").write_text(damaged)
        self.finish(directory, 2)
        assert self.value(directory) == 2
        assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("damaged", DAMAGED_RESULTS)
def test_a_damaged_result_raises_with_the_way_out(tmp_path, damaged):
    (tmp_path / "result.json").write_text(damaged)
    with pytest.raises(DamagedError, match=f"result.json .*: remove {tmp_path}, and it is made again"):
        directories.is_finished(tmp_path)


def test_weights_come_back_bit_for_bit(tmp_path):
    written, loaded = nn.Linear(3, 2), nn.Linear(3, 2)
    weights.write_weights(tmp_path / "w.safetensors", written)
    weights.read_weights(tmp_path / "w.safetensors", loaded)
    assert all(torch.equal(a, b) for a, b in zip(written.parameters(), loaded.parameters(), strict=True))
