"""File errors that are no damage: missing permissions, full disks. Each is one line: path, reason, way out."""

import errno
import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fitnets.errors import UserError
from fitnets.system.process import cache_home, may

DAMAGE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError)
"""errors of a file that is gone or holds something else; every other OSError says nothing of its content"""
_DENIED = (errno.EACCES, errno.EPERM)
FULL = (errno.ENOSPC, errno.EDQUOT)


class FileError(UserError, OSError):
    """A file or folder that cannot be used, in words for the user."""


def explained(error: OSError) -> str | None:
    """What is wrong with which path, and the way out. None: the error names no file."""
    if error.filename is None or isinstance(error.filename, int):
        return None
    path = os.fsdecode(error.filename)
    if error.errno in _DENIED:
        reason, way_out = denied(error)
        return f"{path}: {reason}: {way_out}, or give a folder of your own (store=DIR)"
    if error.errno == errno.EROFS:
        return f"{path}: it is on a read-only file system: give another folder (store=DIR, --out DIR)"
    return f"{path}: {error.strerror}"


@contextmanager
def in_words() -> Iterator[None]:
    """Raise a FileError where a permission is missing or a file system is read-only."""
    try:
        yield
    except OSError as error:
        told = explained(error) if error.errno in (*_DENIED, errno.EROFS) else None
        if told is None or isinstance(error, UserError):
            raise
        raise FileError(told) from error


def check_readable(path: Path) -> None:
    """Raise the OSError of a file that is there and cannot be opened: libraries call that damage."""
    if path.exists():
        path.open("rb").close()


def denied(error: OSError) -> tuple[str, str]:
    """(which permission is missing where, what gives it), for an error that names its file."""
    path = Path(os.fsdecode(error.filename))
    where, needed = _missing(path)
    if where is None:
        return f"the system refuses it to {_user()} ({error.strerror})", "ask its administrator"
    told = where.stat()
    owner, is_mine = _name(told.st_uid), told.st_uid == _uid()
    place = "it" if where == path else where
    reason = f"no permission to {needed} {place}, which belongs to {owner} ({stat.filemode(told.st_mode)})" + (
        "" if is_mine else f"; this process is {_user()}"
    )
    bits = ("rwx" if where.is_dir() else "rw") if is_mine else ("rx" if where.is_dir() else "r")
    if needed == "write" and not is_mine:
        return reason, f"ask {owner} for it"
    command = f"chmod {'u' if is_mine else 'a'}+{bits} {shlex.quote(str(where))}"
    return reason, command if is_mine else f"ask {owner} for it ({command})"


def _missing(path: Path) -> tuple[Path | None, str]:
    """The folder or file that lacks a permission, and which. (None, ''): all are there."""
    for folder in reversed(path.parents):
        if os.path.lexists(folder) and not may(str(folder), os.X_OK):
            return folder, "search"
    if os.path.lexists(path) and not may(str(path), os.R_OK):
        return path, "read"
    if path.is_dir() and not may(str(path), os.X_OK):
        return path, "search"
    for each in (path, *path.parents):
        if os.path.lexists(each) and not may(str(each), os.W_OK):
            return each, "write"
    return None, ""


def _uid() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else -1


def _user() -> str:
    return _name(_uid())


def _name(uid: int) -> str:
    if sys.platform != "win32":
        import pwd

        try:
            return f"user {pwd.getpwuid(uid).pw_name}"
        except KeyError:
            pass
    return f"user {uid}"


# --- full disks ---


def full_disk(error: OSError, store: Path) -> str:
    """Which folder's disk is full, and how to use another one. An error that names no file is taken to be of the
    folder with the least room. store: folder of the results."""
    folders = {"store": store, "TMPDIR": _temporary(), "HF_HOME": _hub_cache(), "": Path(".")}
    if error.filename is not None and not isinstance(error.filename, int):
        path = Path(os.path.abspath(os.fsdecode(error.filename)))
        inside = [name for name, folder in folders.items() if name and path.is_relative_to(os.path.abspath(folder))]
        name = inside[0] if inside else ""
        folder = folders[name] if inside else path.parent
    else:
        name = min(folders, key=lambda each: _room(folders[each]))
        folder = folders[name]
    what = "no room left on the disk of" if error.errno != errno.EDQUOT else "the disk quota is used up for"
    free = "free some" + (" (fitnets clean shows what is not needed)" if name == "store" else "")
    other = {"store": "give another store=DIR", "": "use another folder"}.get(name, f"set {name} to another folder")
    return f"{what} {f'{name}={folder}' if name else folder}: {free}, or {other}"


def _hub_cache() -> Path:
    return Path(os.environ.get("HF_HOME") or Path(cache_home()) / "huggingface")


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # none of its candidates can be written
        return Path(os.environ.get("TMPDIR") or "/tmp")


def _room(folder: Path) -> float:
    """Bytes that this user may still write there; 0 where no further file can be made."""
    if not hasattr(os, "statvfs"):  # Windows
        return float("inf")
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        told = os.statvfs(folder)
    except OSError:
        return float("inf")
    has_files = told.f_favail > 0 or told.f_files == 0
    return float(told.f_bavail * told.f_frsize) if has_files else 0.0
