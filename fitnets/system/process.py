"""Sets up a process: its standard streams, locale, home folder and waiting threads.

Entry points call `run` or `prepare` before Hydra and PyTorch are imported, because libraries read parts of this setup
on import. The module therefore imports the standard library alone.
"""

import atexit
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TextIO

Main = Callable[[], int]
_PRINTING = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "--version", "--plan")
"""Flags with which a command prints something and trains nothing."""


def is_training(words: Sequence[str]) -> bool:
    """Return whether a command line of `run.py` trains: it has no flag that only prints something."""
    return not any(word.partition("=")[0] in _PRINTING for word in words)


def run(main: Main, *, trains: bool = False) -> int:
    """Prepare the process, call the entry point, flush its output and return the exit code.

    trains: whether the results are files

    If output cannot be written, the exit code is 1, unless the process trains. A reader that closes the pipe early
    (`... | head -1`) is never a failure.
    """
    prepare()
    try:
        os.getcwd()
    except FileNotFoundError:
        print("the current folder was removed: cd to another one, and start again", file=sys.stderr)
        return 1
    try:
        try:
            code = main()
        finally:
            _give_stdout_back()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
    except SystemExit as error:
        if error.code or trains or not _streams.is_lost:
            raise
        return 1
    return code or int(_streams.is_lost and not trains)


def prepare() -> None:
    """Set up the process before other modules are imported. Further calls change nothing."""
    _open_closed_descriptors()
    if sys.stdout is None or sys.stdout is sys.__stdout__:  # not inside a test or a notebook
        _use_utf8()
        _replace_streams()
    _let_waiting_threads_sleep()
    with suppress(OSError):  # there may be no folder for temporary files
        _find_home()


# --- standard streams ---


class _Descriptor(io.FileIO):
    """Standard output or standard error that drops bytes which cannot be written.

    The process therefore survives a closed terminal, a reader that closed the pipe and a full disk.
    """

    def __init__(self, number: int, *, is_output: bool):
        super().__init__(number, "w", closefd=False)
        self.is_output = is_output

    def write(self, data: Any) -> int:
        unwritten = whole = memoryview(data).cast("B")
        while unwritten:
            try:
                count = super().write(unwritten)
            except OSError as error:
                self._report_loss(error)
                break
            if count is None:  # the pipe is full, and another process made it non-blocking
                _wait_until_writable(self.fileno())
                continue
            unwritten = unwritten[count:]
        return len(whole)

    def _report_loss(self, error: OSError) -> None:
        """Report once that output is lost. If the reader closed the pipe, it needs no more output: nothing is lost."""
        if error.errno == errno.EPIPE or not self.is_output or _streams.is_lost:
            return
        _streams.is_lost = True
        with suppress(OSError):
            os.write(2, f"standard output cannot be written: {error.strerror}\n".encode())


def _wait_until_writable(descriptor: int) -> None:
    import select

    select.select([], [descriptor], [])


class _Streams:
    """The state of standard output."""

    is_replaced: bool = False
    is_lost: bool = False
    """whether some output could not be written"""
    result: TextIO | None = None
    """the stream that `write_result` writes to while standard output is reserved"""
    reserved_stdout: TextIO | None = None
    """`sys.stdout` as it was before it was reserved"""
    reserved_descriptor: int | None = None
    """a duplicate of descriptor 1 as it was before standard output was reserved"""


_streams = _Streams()


def _open_closed_descriptors() -> None:
    """Open the null device for closed standard streams, because a data file must not get their descriptor numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  (for as long as the process lives)
    elif isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin is sys.__stdin__:
        sys.stdin.reconfigure(errors="replace")


def _replace_streams() -> None:
    if _streams.is_replaced:
        return
    _streams.is_replaced = True
    sys.stdout, sys.stderr = _text(1, sys.stdout, is_output=True), _text(2, sys.stderr, is_output=False)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]


def _text(number: int, earlier: Any, *, is_output: bool) -> io.TextIOWrapper:
    """Return a stream like the earlier one that never raises: it replaces characters that its encoding lacks."""
    raw = _Descriptor(number, is_output=is_output)
    is_unbuffered = earlier is not None and earlier.write_through
    errors = "strict" if earlier is None else earlier.errors
    return io.TextIOWrapper(
        raw if is_unbuffered else io.BufferedWriter(raw),
        encoding="utf-8" if earlier is None else earlier.encoding,
        errors="replace" if errors in ("strict", "surrogateescape") else errors,
        newline=None if os.name == "nt" else "\n",
        line_buffering=number == 2 or raw.isatty(),
        write_through=is_unbuffered,
    )


def reserve_stdout() -> None:
    """Reserve standard output for `write_result`.

    All other output of this process and its children goes to standard error, also that of user modules and C libraries.
    """
    if _streams.result is not None:
        return
    sys.stdout.flush()
    _streams.reserved_stdout, _streams.reserved_descriptor = sys.stdout, os.dup(1)
    is_ours = _is_on(1, sys.stdout)
    _streams.result = _text(_streams.reserved_descriptor, sys.stdout, is_output=True) if is_ours else sys.stdout
    sys.stdout = sys.stderr
    os.dup2(2, 1)


def write_result(text: str) -> None:
    """Write a line to the real standard output, also while it is reserved."""
    print(text, file=_streams.result or sys.stdout, flush=True)


def _is_on(number: int, stream: TextIO) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError, AttributeError):  # the stream is in memory
        return False


def _give_stdout_back() -> None:
    """Undo `reserve_stdout`. Output that user modules print at the exit of the process still goes to standard error."""
    if _streams.result is None:
        return
    _streams.result.flush()
    assert _streams.reserved_descriptor is not None
    assert _streams.reserved_stdout is not None
    os.dup2(_streams.reserved_descriptor, 1)
    os.close(_streams.reserved_descriptor)
    sys.stdout = _streams.reserved_stdout
    _streams.result = _streams.reserved_descriptor = _streams.reserved_stdout = None
    atexit.register(os.dup2, 2, 1)  # called before the functions that were registered earlier


# --- locale ---


def _use_utf8() -> None:
    """Restart the command in Python's UTF-8 mode if the locale has another encoding.

    File names, command-line words and text files are then read alike everywhere. The standard streams keep the locale's
    encoding.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1" or not sys.executable:
        return
    os.environ["PYTHONUTF8"] = "1"
    if sys.stdout is not None:
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


# --- threads ---

_WAIT_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def _let_waiting_threads_sleep() -> None:
    """Let PyTorch's threads sleep after a few microseconds of waiting for one another.

    By default they spin for milliseconds, and a run beside another busy process then takes five times as long. OpenMP
    reads these variables when PyTorch is imported. Variables that the user has set are kept.
    """
    if not any(name in os.environ for name in _WAIT_SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = "1000"  # GNU: sleeping at once would make small steps 30 % slower


# --- home folder ---


def _find_home() -> None:
    """Give libraries a temporary folder if the user has no home folder, or none that is writable."""
    if os.path.expanduser("~") == "~":  # without HOME and a passwd entry, libraries would create a folder named "~"
        os.environ["HOME"] = _temporary_folder()
    if not any(name in os.environ for name in ("LOGNAME", "USER", "LNAME", "USERNAME")) and not _has_name():
        os.environ["USER"] = str(os.getuid())
    if "MPLCONFIGDIR" not in os.environ and not all(
        is_writable(os.path.join(base, "matplotlib")) for base in (cache_home(), config_home())
    ):
        os.environ["MPLCONFIGDIR"] = os.path.join(_temporary_folder(), "matplotlib")


def ignore_plot_settings() -> None:
    """Make matplotlib ignore the user's matplotlibrc and window system. Call this before matplotlib is imported."""
    os.environ["MPLBACKEND"], os.environ["MATPLOTLIBRC"] = "agg", os.devnull


def cache_home() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


def config_home() -> str:
    return os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")


def data_home() -> str:
    return os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")


def is_writable(folder: str) -> bool:
    """Return whether files can be written in the folder, which need not exist yet."""
    folder = os.path.abspath(folder)
    while not os.path.lexists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and may(folder, os.W_OK | os.X_OK)


def may(path: str, mode: int) -> bool:
    """Return `os.access` for the effective user, whose permissions count."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def keeps_files(folder: str) -> bool:
    """Return whether files can be written in the folder and outlive the process."""
    return is_writable(folder) and not any(os.path.abspath(folder).startswith(temporary) for temporary in _temporary)


def _has_name() -> bool:
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except (ImportError, KeyError):  # ImportError: Windows
        return os.name == "nt"
    return True


def _temporary_folder() -> str:
    """Return this process's temporary folder, which is removed when the process ends."""
    import shutil
    import tempfile

    if not _temporary:
        _temporary.append(tempfile.mkdtemp(prefix="fitnets-"))
        atexit.register(shutil.rmtree, _temporary[0], ignore_errors=True)
    return _temporary[0]


_temporary: list[str] = []
