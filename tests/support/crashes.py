"""A process that is killed at its n-th write, for every n.

What a SIGKILL leaves is what the file system shows at that moment: content in the buffers of the process is lost, and
content that was given to the system is not. So one process copies its store before each of its writes, and each copy is
what a process that was killed there would have left. `kill` kills a process there for real.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}


def watch(root: Path, on_write: Callable[[int, Path | None], None]) -> None:
    """Call a function before each write of this process below a folder, with the number of earlier writes and the file
    that is opened, or None if the write opens no file.

    A write is whatever Python reports to its audit hooks: the opening of a file for writing, a rename, a removal, ...
    The hook stays until the process ends.
    """
    number, is_inside = 0, False

    def hook(event: str, arguments: tuple) -> None:
        nonlocal number, is_inside
        if is_inside or not _is_write(event, arguments) or not str(arguments[0]).startswith(str(root)):
            return
        is_inside = True
        on_write(number, Path(arguments[0]) if event == "open" else None)
        number += 1
        is_inside = False

    sys.addaudithook(hook)


def _is_write(event: str, arguments: tuple) -> bool:
    if event == "open":
        return isinstance(arguments[0], str | Path) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return event in _WRITES


def record(root: Path, states: Path, watched: str = ".") -> None:
    """Copy a folder before each write of this process below it, to `states/00000`, `states/00001`, ...

    watched: the part of the folder whose writes count

    A copy that equals the one before it is left out. A copy whose name ends in `torn` has half of what was written to
    the file that was opened last.
    """
    states.mkdir()
    listing: dict[str, tuple[int, int]] = {}
    opened: Path | None = None

    def copy(number: int, write: Path | None) -> None:
        nonlocal listing, opened
        before, listing = listing, _listing(root)
        state = states / f"{number:05}"
        if listing != before or number == 0:
            _copy(root, state)
        if opened is not None and opened.exists() and opened.suffix != ".lock":  # a lock's text is given at once
            name = str(opened.relative_to(root))
            size, earlier = listing[name][0], before.get(name, (0, 0))[0]
            if size > earlier:
                _copy(root, torn := states / f"{number:05}.torn")
                os.truncate(torn / name, (earlier + size) // 2)
        opened = write

    watch(root / watched, copy)


def kill(root: Path, number: int) -> None:
    """Kill this process before its write with this number, counted from 0, below a folder."""
    watch(root, lambda written, _: os.kill(os.getpid(), signal.SIGKILL) if written == number else None)


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    """Return the size and the time of the last change of all that is in a folder."""
    found = {}
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):
            stat = path.lstat()
            found[str(path.relative_to(root))] = stat.st_size, stat.st_mtime_ns
    return found


def _copy(root: Path, state: Path) -> None:
    if root.exists():
        shutil.copytree(root, state, symlinks=True)
    else:
        state.mkdir()
