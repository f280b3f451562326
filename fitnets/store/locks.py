"""Locks of artifacts: one process makes an artifact. Others that need it wait, with a message that names the first."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import SoftFileLease, Timeout

from fitnets.errors import DivergedError, LostLockError, PrunedError
from fitnets.store import layout, lock_owners

LEASE_S = 60.0
"""Seconds without a sign of life after which another process may take over a lock. The lock of a dead process on this
host can be taken over at once."""
_UNSIGNED_S = 2.0
"""Seconds after which a lock without an owner counts as left by a process that died before it had written its name"""
_LOOK_S = 5.0
"""Seconds between a waiting process's checks whether the owner of the lock is dead"""
_POLL_S = 0.5
"""Seconds between a waiting process's attempts to acquire the lock"""

Say = Callable[[str], None]


class Lock:
    """A lock that this process holds on an artifact.

    directory: folder of the artifact
    start_over: make the artifact again even if it exists
    """

    def __init__(self, lease: SoftFileLease, directory: Path, *, start_over: bool):
        self._lease = lease
        self.directory = directory
        self.start_over = start_over

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints of the artifact while it is made."""
        return layout.checkpoint_folder(self.directory)

    def check(self) -> None:
        """Raise LostLockError if another process took over the lock while this one was suspended. Called before files
        of the artifact are written."""
        if not self._lease.is_lock_held_by_us:
            raise LostLockError(
                f"{_owner(self._lease)} took over while this process was suspended: start the same command again; "
                "it will wait for that process"
            )

    def delete_checkpoints(self) -> None:
        """Remove the checkpoints, so that the next training starts from the beginning."""
        self.check()
        shutil.rmtree(self.checkpoints, ignore_errors=True)


@contextmanager
def locked(directory: Path, what: str, say: Say, *, start_over: bool = False) -> Iterator[Lock]:
    """Hold the lock of an artifact in the block. If another process holds it, wait for that process first.

    Inside the block, look whether the artifact exists: the other process may have made it. Half-made folders of dead
    processes are removed. Checkpoints are kept if the block raises, except if training diverges or is pruned.

    directory: folder of the artifact
    what: the artifact in words, for the message
    start_over: make the artifact again, without earlier checkpoints"""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lease = _lease(directory)
    _remove_if_dead(lease)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        say(f"waiting for {_owner(lease)}, which makes {what}")
        _wait(lease)
    lock = Lock(lease, directory, start_over=start_over)
    try:
        _remove_half_made(directory)
        if start_over:
            lock.delete_checkpoints()
        yield lock
        lock.delete_checkpoints()
    except (DivergedError, PrunedError):
        lock.delete_checkpoints()
        raise
    finally:
        lease.release()


def is_locked(directory: Path) -> bool:
    """Return whether a living process holds the lock of the artifact."""
    if not layout.lock_file(directory).exists() or _is_silent(directory):
        return False
    lease = _lease(directory)
    if _is_dead(lease):
        return False
    try:
        lease.acquire(timeout=0)
    except (Timeout, OSError):  # OSError: the store is read-only
        return True
    lease.release()
    return False


def discard(directory: Path, *, left_over_alone: bool) -> bool:
    """Remove an artifact, its checkpoints and its half-made folders. A finished run in the backup is restored.

    left_over_alone: keep the artifact itself

    Returns False, and removes nothing, if a living process holds the lock."""
    lease = _lease(directory)
    _remove_if_dead(lease)
    try:
        lease.acquire(timeout=2 * LEASE_S if _is_silent(directory) else 0)
    except Timeout:
        return False
    try:
        _remove_half_made(directory)
        shutil.rmtree(layout.checkpoint_folder(directory), ignore_errors=True)
        if not left_over_alone:
            remove(directory)
        backup = layout.backup_path(directory)
        if backup.exists() and not directory.exists():
            backup.rename(directory)
    finally:
        lease.release()
    return True


def remove(directory: Path) -> None:
    """Remove a locked folder if it exists. It is renamed first, so that a killed process leaves no half-removed folder
    under its name."""
    partial = layout.temporary_path(directory)
    with suppress(FileNotFoundError):
        directory.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def unused_name(path: Path) -> Path:
    """The path itself, or with a number added to its name if it exists already."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in count(1))
    return path if not os.path.lexists(path) else next(other for other in numbered if not os.path.lexists(other))


def _remove_half_made(directory: Path) -> None:
    """Remove half-made folders of a locked artifact: the processes that made them are dead."""
    for path in list(directory.parent.iterdir()):
        if layout.is_temporary_path(path, directory):
            shutil.rmtree(path, ignore_errors=True)


# --- filelock's leases ---


def _lease(directory: Path) -> SoftFileLease:
    return SoftFileLease(layout.lock_file(directory), lease_duration=LEASE_S)


def _owner(lease: SoftFileLease) -> str:
    owner = lease.owner
    return f"process {owner.pid} on {owner.hostname}" if owner else "another process"


def _wait(lease: SoftFileLease) -> None:
    """Acquire the lock as soon as its owner releases it or is dead."""
    while True:
        try:
            lease.acquire(timeout=_LOOK_S, poll_interval=_POLL_S)
            return
        except Timeout:
            _remove_if_dead(lease)


def _is_silent(directory: Path) -> bool:
    """Return whether the lock has shown no sign of life for so long that its owner, on whatever host, counts as
    dead."""
    try:
        return time.time() - layout.lock_file(directory).stat().st_mtime > 3 * LEASE_S
    except FileNotFoundError:
        return False


def _is_dead(lease: SoftFileLease) -> bool:
    """Return whether the owner of the lock is certainly dead.

    filelock itself waits for two kinds of dead process: zombies, and those killed before they had written their name.
    """
    owner = lease.owner
    if owner is not None:
        return lock_owners.is_dead(owner.pid, owner.hostname, owner.start)
    try:
        stat = Path(lease.lock_file).stat()
    except OSError:
        return False
    return stat.st_size == 0 and time.time() - stat.st_mtime > _UNSIGNED_S


def _remove_if_dead(lease: SoftFileLease) -> None:
    """Remove the lock of a dead process.

    Another process may do the same at the same time, and then make a lock of its own. If that new lock was moved away
    here, it is put back."""
    path = Path(lease.lock_file)
    moved = layout.temporary_file(path)
    with suppress(FileNotFoundError):
        dead_lock = path.stat()
        if not _is_dead(lease):
            return
        path.rename(moved)
        moved_lock = moved.stat()
        if not (os.path.samestat(dead_lock, moved_lock) and dead_lock.st_mtime_ns == moved_lock.st_mtime_ns):
            with suppress(FileExistsError):
                os.link(moved, path)
        moved.unlink()
