"""Artifacts are made once: by the process that claims one, while others that need it wait and say for whom."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

LEASE_S = 60.0
"""A claim without a sign of life for so many seconds may be taken over, by processes on other hosts; on the same host
that of a dead process at once"""


@contextmanager
def claim(directory: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only process that makes the artifact `directory`; wait for another one that does.

    what: the artifact in words, for the message. Inside, look whether it is there: the other process may have made it.
    Left-overs of processes that died while they made it are removed."""
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
        yield
    finally:
        lease.release()


def _holder(lease: SoftFileLease) -> str:
    owner = lease.owner
    return f"process {owner.pid} on {owner.hostname}" if owner else "another process"
