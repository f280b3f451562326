"""Finds out whether the process that a lock names is dead. Linux shows states and start times of processes; elsewhere
only their numbers are visible."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import SoftFileLease

_INITIAL_NAMESPACE = 0xEFFFFFFC
"""inode of the machine's own PID namespace, in which every process is visible (Linux ABI)"""
_START_BITS = 64
"""filelock's start record: the lower 64 bits hold the time at which the process started, the bits above the boot id"""
_ENDED = ("Z", "X")
"""Linux process states: zombie, dead"""


def is_dead(pid: int, hostname: str, start: int | None) -> bool:
    """Return whether the process has certainly ended. A zombie is dead although its number is still in use.

    pid, hostname, start: as filelock records them"""
    if hostname == _host_name():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's process
            pass
        return not _is_alive(pid, start)
    return _shows_all_processes(start) and start not in _starts_of_living()


def _is_alive(pid: int, start: int | None) -> bool:
    state, current_start = _status(pid)
    is_another_process = None not in (start, current_start) and current_start != start
    return state not in _ENDED and not is_another_process


def _status(pid: int | str) -> tuple[str, int | None]:
    """(state, start) of a process; ('', None) where the system does not show them."""
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "", None
    fields = content[content.rfind(b")") + 1 :].split()
    return fields[0].decode(), (_boot() << _START_BITS) | int(fields[19])


def _shows_all_processes(start: int | None) -> bool:
    """Return whether the recorded process ran on this machine since its last boot, and this process sees all processes
    of the machine, those in containers too."""
    try:
        is_initial = Path("/proc/self/ns/pid").stat().st_ino == _INITIAL_NAMESPACE
    except OSError:
        return False
    return bool(start and _boot() and start >> _START_BITS == _boot() and is_initial and _status(1)[1] is not None)


def _starts_of_living() -> set[int | None]:
    """The start records of this machine's living processes."""
    statuses = [_status(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {start for state, start in statuses if state not in _ENDED}


@cache
def _boot() -> int:
    """The id of the machine's current boot; 0 if it is unknown."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return int(text.strip().replace("-", ""), 16)
    except (OSError, ValueError):
        return 0


@cache
def _host_name() -> str:
    """The name of this host or container, as filelock writes it into a lock; empty if no lock can be written."""
    try:
        with TemporaryDirectory() as folder, SoftFileLease(Path(folder) / "lock") as _:
            owner = SoftFileLease(Path(folder) / "lock").owner
            return owner.hostname if owner else ""
    except OSError:  # no room for a temporary file
        return ""
