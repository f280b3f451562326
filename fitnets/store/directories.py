"""Folders of a store: each appears complete, and a new run replaces an earlier one without losing it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from fitnets.errors import ConfigError, DamagedError, LostLockError
from fitnets.store import files, layout, locks, ownership
from fitnets.system import permissions


@contextmanager
def fill(final: Path, *, replace: bool = False, resumable: bool = False) -> Iterator[Path]:
    """Give the block a temporary folder to fill, and rename it to `final` when the block ends without an error.

    If two processes fill the same folder, the first one to finish wins: both make the same content.
    replace: remove an earlier folder of that name first
    resumable: if the process is killed or stopped, its temporary folder stays, and the next process that fills `final`
        gets it as it is. The caller holds a lock, because all processes get the same folder"""
    partial = layout.resumed_path(final) if resumable else layout.temporary_path(final)
    partial.mkdir(parents=True, exist_ok=resumable)
    is_kept = False
    try:
        yield partial
        for path in partial.iterdir():
            _sync(path)
        if replace:
            locks.remove(final)
        try:
            partial.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    except KeyboardInterrupt:
        is_kept = resumable
        raise
    finally:
        if not is_kept:
            shutil.rmtree(partial, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(root: Path, key: str = "store=") -> None:
    """Make the folder if needed, and raise ConfigError if no file can be written in it. A store gets its marker.

    key: the key or flag with which the user gave the folder"""
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".{uuid4().hex}"
        probe.touch()
        probe.unlink()
        if key == "store=":
            ownership.mark(root)
    except OSError as error:
        reason, way_out = error.strerror, ""
        if isinstance(error, PermissionError):
            reason, way_out = permissions.describe_denial(error)
            way_out += ", or "
        raise ConfigError(f"{key}{root}: cannot write there ({reason}): {way_out}give {key}DIR") from error


# --- runs ---


def is_finished(directory: Path) -> bool:
    """Return whether a run directory holds a finished run. Raises DamagedError if its `result.json` cannot be
    read or has no status."""
    path = directory / layout.RESULT
    if not path.exists():
        return False
    with files.advise_removal(directory):
        result = files.read_json(path)
        if "status" not in result:
            raise DamagedError(f"{path} has no status")
    return bool(result["status"] == "finished")


@contextmanager
def replace_run(directory: Path) -> Iterator[Path]:
    """Empty a run directory for a new run.

    An earlier finished run is moved to a backup, which is restored if the block raises and removed otherwise. A run
    that is unfinished or damaged is removed at once. A user's own files stay in the directory."""
    backup = layout.backup_path(directory)
    if _is_certainly_finished(directory):
        _remove_run(backup, move_others_to=directory)
        directory.rename(backup)
    _remove_run(directory)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield directory
    except LostLockError:  # the directory belongs to another process now
        raise
    except BaseException:
        if backup.exists():
            _remove_run(directory, move_others_to=backup)
            backup.rename(directory)
        raise
    _remove_run(backup, move_others_to=directory)


def _is_certainly_finished(directory: Path) -> bool:
    try:
        return is_finished(directory)
    except DamagedError:
        return False


def _remove_run(directory: Path, move_others_to: Path | None = None) -> None:
    """Remove a run directory. A user's own files move to the other folder if one is given, and stay otherwise."""
    others = ownership.foreign_entries(directory, "run") if directory.is_dir() else []
    if move_others_to is not None:
        for path in others:
            path.rename(locks.unused_name(move_others_to / path.name))
        others = []
    if others:
        ownership.remove_ours(directory, "run")
    else:
        locks.remove(directory)
