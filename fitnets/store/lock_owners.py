"""Whether the process that a lock names is dead. Linux alone shows more than whether its number is in use."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import SoftFileLease

_INITIAL_NAMESPACE = 0xEFFFFFFC
"""inode of the PID namespace of the machine itself, which shows every process (Linux ABI)"""
_START_BITS = 64
"""filelock records the boot's id above so many bits, and below them when the process was started"""


def is_dead(pid: int, hostname: str, start: int | None) -> bool:
    """Whether the recorded process has ended for certain. One that has ended and that no other process has waited for
    (a zombie) is dead, although its number is still in use. pid, hostname, start: as filelock records them."""
    if hostname == _host_name():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it is another user's
            pass
        return not _is_alive(pid, start)
    return _sees_all_of(start) and start not in _alive()


def _is_alive(pid: int, start: int | None) -> bool:
    state, since = _status(pid)
    is_other = None not in (start, since) and since != start
    return state not in ("Z", "X") and not is_other


def _status(pid: int | str) -> tuple[str, int | None]:
    """(state, start): ('', None) where the system does not show them."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "", None
    fields = told[told.rfind(b")") + 1 :].split()
    return fields[0].decode(), (_boot() << _START_BITS) | int(fields[19])


def _sees_all_of(start: int | None) -> bool:
    """Whether a process that was started then ran on this machine since it was booted, and all of its processes are
    shown to this one: those in containers too."""
    try:
        is_initial = Path("/proc/self/ns/pid").stat().st_ino == _INITIAL_NAMESPACE
    except OSError:
        return False
    return bool(start and _boot() and start >> _START_BITS == _boot() and is_initial and _status(1)[1] is not None)


def _alive() -> set[int | None]:
    """When the living processes of this machine were started."""
    told = [_status(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {start for state, start in told if state not in ("Z", "X")}


@cache
def _boot() -> int:
    try:
        told = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return int(told.strip().replace("-", ""), 16)
    except (OSError, ValueError):
        return 0


@cache
def _host_name() -> str:
    """This host and container, as filelock writes them into a lock."""
    try:
        with TemporaryDirectory() as folder, SoftFileLease(Path(folder) / "lock") as _:
            record = SoftFileLease(Path(folder) / "lock").owner
            return record.hostname if record else ""
    except OSError:  # no room for a temporary file: nothing is certain
        return ""
