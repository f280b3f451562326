"""Artifacts are made once: by the process that claims one, while others that need it wait and say for whom."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from uuid import uuid4

from filelock import SoftFileLease, Timeout

from fitnets.errors import DivergedError, LostLockError, PrunedError
from fitnets.store import lock_owners

LEASE_S = 60.0
"""A claim without a sign of life for so many seconds may be taken over; that of a dead process on this host at once"""
_UNSIGNED_S = 2.0
"""A lock that names nobody after so many seconds was left by a process that died before it had written its name"""
_LOOK_S = 5.0
"""How often a waiting process looks whether the other one is dead"""

Say = Callable[[str], None]


class Lock:
    """The right to make the artifact `directory`. start_over: although it is there."""

    def __init__(self, lease: SoftFileLease, directory: Path, *, start_over: bool):
        self._lease = lease
        self.directory = directory
        self.start_over = start_over

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints of the artifact while it is made."""
        return _checkpoints(self.directory)

    def check(self) -> None:
        """Raises LostClaimError before a suspended process writes among the files of the one that took over."""
        if not self._lease.is_lock_held_by_us:
            raise LostLockError(
                f"{_holder(self._lease)} took over while this process was suspended: start the same command again, "
                "it waits for that one"
            )

    def delete_checkpoints(self) -> None:
        """Remove the checkpoints: what was begun is not gone on with."""
        self.check()
        shutil.rmtree(self.checkpoints, ignore_errors=True)


@contextmanager
def locked(directory: Path, what: str, say: Say, *, start_over: bool = False) -> Iterator[Lock]:
    """Be the only process that makes the artifact `directory`; wait for another one that does.

    what: the artifact in words, for the message. Inside, look whether it is there: the other process may have made it.
    Half-made files of processes that died are removed; their checkpoints stay until the block ends well or the training
    cannot or shall not go on (DivergedError, PrunedError). start_over: without them."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lease = _lease(directory)
    _remove_dead(lease)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        say(f"waiting for {_holder(lease)}, which makes {what}")
        _wait(lease)
    claimed = Lock(lease, directory, start_over=start_over)
    try:
        _remove_partial(directory)
        if start_over:
            claimed.delete_checkpoints()
        yield claimed
        claimed.delete_checkpoints()
    except (DivergedError, PrunedError):
        claimed.delete_checkpoints()
        raise
    finally:
        lease.release()


def is_locked(directory: Path) -> bool:
    """Whether a living process makes the artifact."""
    if not lock_file(directory).exists() or _is_silent(directory):
        return False
    lease = _lease(directory)
    if _is_dead(lease):
        return False
    try:
        lease.acquire(timeout=0)
    except (Timeout, OSError):  # OSError: the store cannot be written
        return True
    lease.release()
    return False


def discard(directory: Path, *, left_over_alone: bool) -> bool:
    """Remove an artifact and what lies beside it, or the latter alone; an earlier finished one that it was to replace
    comes back. False where a living process makes it."""
    lease = _lease(directory)
    _remove_dead(lease)
    try:
        lease.acquire(timeout=2 * LEASE_S if _is_silent(directory) else 0)
    except Timeout:
        return False
    try:
        _remove_partial(directory)
        shutil.rmtree(_checkpoints(directory), ignore_errors=True)
        if not left_over_alone:
            remove(directory)
        if backup_path(directory).exists() and not directory.exists():
            backup_path(directory).rename(directory)
    finally:
        lease.release()
    return True


def remove(directory: Path) -> None:
    """Remove a claimed directory, if it is there: whole from one moment to the next, though its files go one by one."""
    partial = temporary_path(directory)
    with suppress(FileNotFoundError):
        directory.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def unused_name(path: Path) -> Path:
    """The path, with a number added to its name if something is there."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in count(1))
    return path if not os.path.lexists(path) else next(other for other in numbered if not os.path.lexists(other))


def temporary_path(directory: Path) -> Path:
    """A new name beside an artifact (or its `backup_path`), for what is no whole one."""
    name = directory.name.removeprefix(".").removesuffix(".earlier")
    return directory.with_name(f".{name}.partial-{uuid4().hex}")


def backup_path(directory: Path) -> Path:
    """Where the finished run lies that is to be replaced by the one in the directory."""
    return directory.with_name(f".{directory.name}.earlier")


def lock_file(directory: Path) -> Path:
    """The file that says who makes the artifact."""
    return directory.with_name(f".{directory.name}.lock")


def _remove_partial(directory: Path) -> None:
    """Half-made files of a claimed artifact: those who made them are dead."""
    half_made = re.compile(rf"\.{re.escape(directory.name)}\.partial-[0-9a-f]{{32}}")
    for path in list(directory.parent.iterdir()):
        if half_made.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _is_silent(directory: Path) -> bool:
    """Whether the claim, of another host perhaps, has shown no sign of life for long."""
    try:
        return time.time() - lock_file(directory).stat().st_mtime > 3 * LEASE_S
    except FileNotFoundError:
        return False


def _wait(lease: SoftFileLease) -> None:
    """Acquire the lock, at the latest when its process is dead."""
    while True:
        try:
            lease.acquire(timeout=_LOOK_S, poll_interval=0.5)
            return
        except Timeout:
            _remove_dead(lease)


def _is_dead(lease: SoftFileLease) -> bool:
    """Whether the process that made the lock is dead for certain. (filelock waits for a dead process that was not
    waited for, and for one that was killed before it had written its name.)"""
    owner = lease.owner
    if owner is not None:
        return lock_owners.is_dead(owner.pid, owner.hostname, owner.start)
    try:
        told = Path(lease.lock_file).stat()
    except OSError:
        return False
    return told.st_size == 0 and time.time() - told.st_mtime > _UNSIGNED_S


def _remove_dead(lease: SoftFileLease) -> None:
    """Remove the lock of a dead process. Another process may do so at the same time, and make a lock of its own: that
    one is put back."""
    path = Path(lease.lock_file)
    aside = path.with_name(f"{path.name}.{uuid4().hex}")
    with suppress(FileNotFoundError):
        judged = path.stat()
        if not _is_dead(lease):
            return
        path.rename(aside)
        moved = aside.stat()
        if not (os.path.samestat(judged, moved) and judged.st_mtime_ns == moved.st_mtime_ns):
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()


def _holder(lease: SoftFileLease) -> str:
    owner = lease.owner
    return f"process {owner.pid} on {owner.hostname}" if owner else "another process"


def _lease(directory: Path) -> SoftFileLease:
    return SoftFileLease(lock_file(directory), lease_duration=LEASE_S)


def _checkpoints(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.checkpoints")
