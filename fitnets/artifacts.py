"""Artifacts are made once: by the process that claims one, while others that need it wait and say for whom."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from fitnets.options import DivergedError, ToldError

LEASE_S = 60.0
"""A claim without a sign of life for so many seconds may be taken over, by processes on other hosts; on the same host
that of a dead process at once"""

Say = Callable[[str], None]


class LostClaimError(ToldError, RuntimeError):
    """This process gave no sign of life for so long that another one took over."""


class Claim:
    """The right to make the artifact `directory`. afresh: although it is there."""

    def __init__(self, lease: SoftFileLease, directory: Path, *, afresh: bool):
        self._lease = lease
        self.directory = directory
        self.afresh = afresh

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints of the artifact while it is made."""
        return _checkpoints(self.directory)

    def check(self) -> None:
        """Raises LostClaimError before a suspended process writes among the files of the one that took over."""
        if not self._lease.is_lock_held_by_us:
            raise LostClaimError(
                f"{_holder(self._lease)} took over while this process was suspended: start the same command again, "
                "it waits for that one"
            )


@contextmanager
def claim(directory: Path, what: str, say: Say, *, afresh: bool = False) -> Iterator[Claim]:
    """Be the only process that makes the artifact `directory`; wait for another one that does.

    what: the artifact in words, for the message. Inside, look whether it is there: the other process may have made it.
    Half-made files of processes that died are removed; their checkpoints stay until the block ends well or the training
    cannot go on (DivergedError). afresh: without them."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lease = _lease(directory)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        say(f"waiting for {_holder(lease)}, which makes {what}")
        lease.acquire(poll_interval=0.5)
    claimed = Claim(lease, directory, afresh=afresh)
    try:
        _remove_partial(directory)
        if afresh:
            _forget(directory)
        yield claimed
        claimed.check()
        _forget(directory)
    except DivergedError:
        _forget(directory)
        raise
    finally:
        lease.release()


def is_claimed(directory: Path) -> bool:
    """Whether a living process makes the artifact."""
    if not _lock(directory).exists():
        return False
    lease = _lease(directory)
    try:
        lease.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lease.release()
    return False


def discard(directory: Path, *, left_over_alone: bool) -> bool:
    """Remove an artifact and what lies beside it, or the latter alone. False where a living process makes it."""
    lease = _lease(directory)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        return False
    try:
        _remove_partial(directory)
        _forget(directory)
        if not left_over_alone:
            shutil.rmtree(directory)
    finally:
        lease.release()
    return True


def _remove_partial(directory: Path) -> None:
    """Half-made files of a claimed artifact: those who made them are dead."""
    for left_over in directory.parent.glob(f".{directory.name}.partial-*"):
        shutil.rmtree(left_over, ignore_errors=True)


def _forget(directory: Path) -> None:
    shutil.rmtree(_checkpoints(directory), ignore_errors=True)


def _holder(lease: SoftFileLease) -> str:
    owner = lease.owner
    return f"process {owner.pid} on {owner.hostname}" if owner else "another process"


def _lease(directory: Path) -> SoftFileLease:
    return SoftFileLease(_lock(directory), lease_duration=LEASE_S)


def _lock(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.lock")


def _checkpoints(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.checkpoints")
