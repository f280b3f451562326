"""A study's journal file, whose end may be torn: by a process that was killed while it wrote, or by a power cut."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import BaseJournalFileLock

from fitnets.errors import ConfigError

LOCK_GRACE_S = 30
"""The lock of a journal file that is so old was left by a process that died"""
_START = b'{"op_code":'
_CHUNK = 1 << 16

Say = Callable[[str], None]


class _NoLock(BaseJournalFileLock):
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class Journal(JournalFileBackend):
    """Optuna's journal file. A torn end is cut before anything is added: Optuna would add to half a line, and no
    process could read the file again.

    say: is handed a line about what was cut; None leaves the file as it is until something is added"""

    def __init__(self, path: Path, say: Say | None):
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), _NoLock())
        self.path, self.say = path, say
        self.lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_GRACE_S)
        if say is not None and _sound_bytes(path) is not None:
            with self._locked():  # it may have been the line that another worker was writing
                self._cut_torn_end()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self._locked():
            self._cut_torn_end()
            super().append_logs(logs)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    def _cut_torn_end(self) -> None:
        sound = _sound_bytes(self.path)
        if sound is None:
            return
        size = self.path.stat().st_size
        with self.path.open("r+b") as file:
            file.truncate(sound)
            file.seek(max(0, sound - 1))
            if sound and file.read(1) != b"\n":
                file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())
        if size > sound and self.say is not None:
            self.say(
                f"{self.path}: the last line was not written to its end (a worker was killed, or the power went): "
                f"its {size - sound} bytes are cut, nothing before them is lost"
            )


def damaged_line(path: Path) -> int | None:
    """The number of the first line that is no record, counted from 1."""
    with path.open("rb") as file:
        return next((number for number, line in enumerate(file, 1) if not _is_record(line)), None)


def _sound_bytes(path: Path) -> int | None:
    """How many bytes at the start of the file are whole lines; None: all of them. A last line that lacks its newline
    alone is whole. Raises ConfigError for a file that is no journal, which must not be cut."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = _start_of_last_line(file, size)
        file.seek(start)
        last = file.read()
        file.seek(0)
        first = file.readline()
    if size == 0 or (last.endswith(b"\n") and _is_record(last)):
        return None
    if start == 0:
        is_journal = not last.strip(b"\0") or last.startswith(_START) or _START.startswith(last.rstrip(b"\0"))
    else:
        is_journal = _is_record(first)
    if not is_journal:
        raise ConfigError(f"hydra.sweeper.storage={path}: this file is no journal of a study: give a path of its own")
    whole = last.rstrip(b"\0")
    return start + len(whole) if _is_record(whole) else start


def _start_of_last_line(file: Any, size: int) -> int:
    end = size - 1  # the newline of the last line itself does not count
    while end > 0:
        begin = max(0, end - _CHUNK)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return int(begin + found + 1)
        end = begin
    return 0


def _is_record(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False
