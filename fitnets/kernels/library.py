"""Compiles the C files of this folder with the machine's C compiler when they are first needed, and loads them.

A compiled file is kept in the user's cache folder, under a name that depends on the source, the compiler and the
processor. Without a compiler, or if anything fails, `load` returns None, and PyTorch's own operations are used.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

_FLAGS = ["-O3", "-march=native", "-std=gnu11", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
_FLAGS += ["-ffp-contract=off"]  # forward and backward must choose the same piece
_WIDE = "-mprefer-vector-width=512"
"""a flag that not every compiler knows"""
_is_on = True


def switch(*, on: bool) -> None:
    """Use compiled loops from now on, or PyTorch's own operations."""
    global _is_on  # noqa: PLW0603
    _is_on = on


def is_on() -> bool:
    """Return whether compiled loops are used."""
    return _is_on


def load(name: str, *defined: str) -> ctypes.CDLL | None:
    """The compiled loops of `name`.c; None if they are off or cannot be had.

    defined: macros to define"""
    return _loaded(name, defined) if _is_on else None


def call(loop: Any, *arguments: Tensor | int) -> None:
    """Call a compiled loop. Raises MemoryError if it says that memory ran out.

    arguments: tensors in the layout that the loop expects, and whole numbers"""
    words = [ctypes.c_void_p(one.data_ptr()) if isinstance(one, Tensor) else ctypes.c_int64(one) for one in arguments]
    if loop(*words):
        raise MemoryError(f"{loop.__name__}: no memory for its sums")


def describe() -> str:
    """The loops in words, for the plan and the record of the environment."""
    if not _is_on:
        return "PyTorch's own (engine.kernels=off)"
    compiler = _compiler()
    if compiler is None:
        return "PyTorch's own (no C compiler: cc, gcc or clang)"
    if _loaded("maxout", ()) is None:
        return f"PyTorch's own ({compiler} cannot compile them)"
    return f"compiled by {_version(compiler)}"


@cache
def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


@cache
def _version(compiler: str) -> str:
    finished = subprocess.run(
        [compiler, "--version"], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return (finished.stdout.splitlines() or [compiler])[0].strip()


@cache
def _loaded(name: str, defined: tuple[str, ...]) -> ctypes.CDLL | None:
    compiler = _compiler()
    if compiler is None:
        return None
    source = Path(__file__).with_name(f"{name}.c")
    try:
        return _built(compiler, source, [f"-D{macro}" for macro in defined])
    except OSError:
        return None


def _built(compiler: str, source: Path, defined: list[str]) -> ctypes.CDLL:
    """Load the compiled file, after compiling it if there is none. Raises OSError if that fails."""
    facts = [source.read_text(encoding="utf-8"), *_FLAGS, *defined, _version(compiler), _processor()]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    kept = _cache_folder() / f"{source.stem}-{digest}.so"
    if kept.exists():
        with suppress(OSError):  # a damaged file is compiled again
            return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory() as folder:
        fresh = _compiled(compiler, source, defined, Path(folder))
        loaded = ctypes.CDLL(str(fresh))
        _keep(fresh, kept)
    return loaded


def _compiled(compiler: str, source: Path, defined: list[str], folder: Path) -> Path:
    """Compile a source into a folder. Raises OSError if no set of flags works.

    PyTorch's OpenMP is used, so that there is one team of threads: the file is linked without a library of its own. If
    it cannot be loaded like that, it is linked with the compiler's."""
    problem = ""
    for wide in ([_WIDE], []):
        for linked in ([], ["-fopenmp"]):
            compiled, shared = folder / "loops.o", folder / "loops.so"
            commands = [
                [compiler, *_FLAGS, *wide, *defined, "-c", str(source), "-o", str(compiled)],
                [compiler, "-shared", *linked, str(compiled), "-o", str(shared)],
            ]
            for command in commands:
                finished = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
                problem = finished.stderr
                if finished.returncode:
                    break
            else:
                try:
                    ctypes.CDLL(str(shared))
                except OSError as error:
                    problem = str(error)
                    continue
                return shared
    raise OSError(problem)


def _keep(fresh: Path, kept: Path) -> None:
    """Copy a compiled file into the cache folder, whole or not at all; not at all if the folder cannot be written."""
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f".{kept.name}.{os.getpid()}")
        shutil.copyfile(fresh, partial)
        partial.replace(kept)


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "fitnets"


def _processor() -> str:
    """Describe the processor. A file for another one may hold instructions that this one lacks."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    known = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))
    return "\n".join([platform.machine(), platform.processor(), *known])
