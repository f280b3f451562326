"""A study's journal file, which may end in the middle of a line.

A line is cut off when a process is killed while it writes, or when the power fails.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from fitnets.errors import ConfigError
from fitnets.sweeper import internals

LOCK_GRACE_S = 30
"""a journal file's lock of this age was left by a process that died"""
_START = b'{"op_code":'
_CHUNK = 1 << 16

Say = Callable[[str], None]
"""Shows a line to the user."""


class Journal(JournalFileBackend):
    """Optuna's journal file. An incomplete last line is removed before anything is appended.

    Optuna alone would append to the incomplete line, and no process could read the file again.

    say: shows a line about the removal to the user; None: the file stays unchanged until something is appended
    """

    def __init__(self, path: Path, say: Say | None):
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(str(path), internals.no_journal_lock())
        self.path, self.say = path, say
        self.lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_GRACE_S)
        if say is not None and _sound_bytes(path) is not None:
            with self._locked():  # another worker may have been writing that line
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
                f"{self.path}: the last line is incomplete (a worker was killed, or the power failed): "
                f"its {size - sound} bytes are removed, all earlier lines are kept"
            )


def damaged_line(path: Path) -> int | None:
    """The number of the first line that is no record, counted from 1; None if all lines are records."""
    with path.open("rb") as file:
        return next((number for number, line in enumerate(file, 1) if not _is_record(line)), None)


def _sound_bytes(path: Path) -> int | None:
    """The number of bytes at the start of the file that are whole lines; None if all are.

    A last line that lacks only its newline is whole. Raises ConfigError for a file that is no journal and must not be
    cut.
    """
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
    end = size - 1  # skips the newline of the last line itself
    while end > 0:
        begin = max(0, end - _CHUNK)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return int(begin + newline + 1)
        end = begin
    return 0


def _is_record(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False
