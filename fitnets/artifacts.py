"""Artifacts are made once: by the process that claims one, while others that need it wait and say for whom."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from fitnets.options import DivergedError

LEASE_S = 60.0
"""A claim without a sign of life for so many seconds may be taken over, by processes on other hosts; on the same host
that of a dead process at once"""


@contextmanager
def claim(directory: Path, what: str, say: Callable[[str], None], *, afresh: bool = False) -> Iterator[None]:
    """Be the only process that makes the artifact `directory`; wait for another one that does.

    what: the artifact in words, for the message. Inside, look whether it is there: the other process may have made it.
    Half-made files of processes that died are removed; their checkpoints stay until the block ends well or the training
    cannot go on (DivergedError). afresh: without them."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lease = SoftFileLease(directory.with_name(f".{directory.name}.lock"), lease_duration=LEASE_S)
    try:
        lease.acquire(timeout=0)
    except Timeout:
        say(f"waiting for {_holder(lease)}, which makes {what}")
        lease.acquire(poll_interval=0.5)
    try:
        for left_over in directory.parent.glob(f".{directory.name}.partial-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        if afresh:
            _forget(directory)
        yield
        _forget(directory)
    except DivergedError:
        _forget(directory)
        raise
    finally:
        lease.release()


def checkpoints(directory: Path) -> Path:
    """Where the checkpoints of an artifact lie while it is made."""
    return directory.with_name(f".{directory.name}.checkpoints")


def _forget(directory: Path) -> None:
    shutil.rmtree(checkpoints(directory), ignore_errors=True)


def _holder(lease: SoftFileLease) -> str:
    owner = lease.owner
    return f"process {owner.pid} on {owner.hostname}" if owner else "another process"
