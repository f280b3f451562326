"""Messages for missing permissions and full disks: one line with the path, the reason and the remedy.

Such errors do not mean that a file's content is wrong, so they must not be reported as a damaged file.
"""

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
"""Errors that mean a file is missing or has the wrong content; other OSErrors do not concern its content."""
_DENIED = (errno.EACCES, errno.EPERM)
FULL = (errno.ENOSPC, errno.EDQUOT)


class FileError(UserError, OSError):
    """A file or folder cannot be used; the message is for the user."""


def explain(error: OSError) -> str | None:
    """Return one line with the path, what is wrong with it and the remedy, or None if the error names no file."""
    if error.filename is None or isinstance(error.filename, int):
        return None
    path = os.fsdecode(error.filename)
    if error.errno in _DENIED:
        reason, remedy = describe_denial(error)
        return f"{path}: {reason}: {remedy}, or give a folder of your own (store=DIR)"
    if error.errno == errno.EROFS:
        return f"{path}: it is on a read-only file system: give another folder (store=DIR, --out DIR)"
    return f"{path}: {error.strerror}"


@contextmanager
def in_words() -> Iterator[None]:
    """Raise a FileError, which has a message for the user, if a permission is missing or a file system is read-only."""
    try:
        yield
    except OSError as error:
        message = explain(error) if error.errno in (*_DENIED, errno.EROFS) else None
        if message is None or isinstance(error, UserError):
            raise
        raise FileError(message) from error


def check_readable(path: Path) -> None:
    """Raise the OSError of opening an existing file, before a library reports the file as damaged."""
    if path.exists():
        path.open("rb").close()


def describe_denial(error: OSError) -> tuple[str, str]:
    """Return (the permission that is missing, with its path; the remedy). The error must name its file."""
    path = Path(os.fsdecode(error.filename))
    where, permission = _missing(path)
    if where is None:
        return f"the system refuses it to {_user()} ({error.strerror})", "ask its administrator"
    status = where.stat()
    owner, is_mine = _name(status.st_uid), status.st_uid == _uid()
    place = "it" if where == path else where
    reason = f"no permission to {permission} {place}, which belongs to {owner} ({stat.filemode(status.st_mode)})" + (
        "" if is_mine else f"; this process is {_user()}"
    )
    bits = ("rwx" if where.is_dir() else "rw") if is_mine else ("rx" if where.is_dir() else "r")
    if permission == "write" and not is_mine:
        return reason, f"ask {owner} for it"
    command = f"chmod {'u' if is_mine else 'a'}+{bits} {shlex.quote(str(where))}"
    return reason, command if is_mine else f"ask {owner} for it ({command})"


def _missing(path: Path) -> tuple[Path | None, str]:
    """Return the folder or file that lacks a permission, and the permission; (None, '') if none is missing."""
    for folder in reversed(path.parents):
        if os.path.lexists(folder) and not may(str(folder), os.X_OK):
            return folder, "search"
    if os.path.lexists(path) and not may(str(path), os.R_OK):
        return path, "read"
    if path.is_dir() and not may(str(path), os.X_OK):
        return path, "search"
    for existing in filter(os.path.lexists, (path, *path.parents)):
        if not may(str(existing), os.W_OK):
            return existing, "write"
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
    """Return one line with the folder whose disk is full and how to use another one.

    store: folder of the results

    If the error names no file, the folder with the least room is named.
    """
    folders = {"store": store, "TMPDIR": _temporary(), "HF_HOME": _hub_cache(), "": Path(".")}
    if error.filename is not None and not isinstance(error.filename, int):
        path = Path(os.path.abspath(os.fsdecode(error.filename)))
        inside = [name for name, folder in folders.items() if name and path.is_relative_to(os.path.abspath(folder))]
        name = inside[0] if inside else ""
        folder = folders[name] if inside else path.parent
    else:
        name = min(folders, key=lambda label: _room(folders[label]))
        folder = folders[name]
    problem = "no room left on the disk of" if error.errno != errno.EDQUOT else "the disk quota is used up for"
    free = "free some" + (" (fitnets clean shows what is not needed)" if name == "store" else "")
    alternative = {"store": "give another store=DIR", "": "use another folder"}.get(
        name, f"set {name} to another folder"
    )
    return f"{problem} {f'{name}={folder}' if name else folder}: {free}, or {alternative}"


def _hub_cache() -> Path:
    return Path(os.environ.get("HF_HOME") or Path(cache_home()) / "huggingface")


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # no candidate folder is writable
        return Path(os.environ.get("TMPDIR") or "/tmp")


def _room(folder: Path) -> float:
    """Return the bytes that this user may still write in the folder; 0 if no further file can be created."""
    if not hasattr(os, "statvfs"):  # Windows
        return float("inf")
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        status = os.statvfs(folder)
    except OSError:
        return float("inf")
    has_free_inodes = status.f_favail > 0 or status.f_files == 0
    return float(status.f_bavail * status.f_frsize) if has_free_inodes else 0.0
