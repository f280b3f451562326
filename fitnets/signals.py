"""SIGINT, SIGTERM and SIGHUP (the terminal was closed) end a process only after it has written a checkpoint."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

_REPEATED_S = 2.0
"""A SIGTERM so many seconds after the first one is the same request: Slurm and torchrun both send it."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Stopped(KeyboardInterrupt):
    """Raised when a signal stops the process.

    exit_code: 128 + the signal's number, as in shells
    is_torn: a second signal interrupted a `delay_signals` block, whose work is therefore half done
    """

    def __init__(self, number: int, *, is_torn: bool):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        self.is_torn = is_torn


class _SignalState:
    """The state of signal handling: whether signals are delayed, and which one is pending."""

    def __init__(self) -> None:
        self.is_held = False
        self.pending: int | None = None
        """number of a signal that came during a `delay_signals` block and has not raised Stopped yet"""
        self.pending_since = 0.0

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.is_held and self.pending is None:
            self.pending, self.pending_since = number, time.monotonic()
            return
        is_repeated = time.monotonic() - self.pending_since < _REPEATED_S
        if self.is_held and number == self.pending == signal.SIGTERM and is_repeated:
            return
        self.pending = None
        raise Stopped(number, is_torn=self.is_held)

    def raise_pending(self) -> None:
        """Raise Stopped if a signal is pending."""
        number, self.pending = self.pending, None
        if number is not None:
            raise Stopped(number, is_torn=False)


_state = _SignalState()


@contextmanager
def raise_signals() -> Iterator[None]:
    """Make SIGINT, SIGTERM and SIGHUP raise Stopped inside the block.

    Signals that the process ignores (nohup) stay ignored. A signal that is still pending, because an error ended the
    `delay_signals` block that delayed it, raises Stopped at once. Only the main thread receives signals: in other
    threads, and inside a `delay_signals` block, the block changes nothing.
    """
    if current_thread() is not main_thread() or _state.is_held:
        yield
        return
    _state.raise_pending()
    handled = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    earlier_handlers = {number: signal.signal(number, _state.handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in earlier_handlers.items():
            signal.signal(number, handler)


@contextmanager
def delay_signals() -> Iterator[None]:
    """Delay a first signal until the block ends; a second one interrupts the block at once.

    If the block raises, the first signal stays pending until the next `delay_signals` or `raise_signals` begins. Inside
    another such block this one changes nothing.
    """
    if current_thread() is not main_thread() or _state.is_held:
        yield
        return
    if _state.is_held:  # a run inside the epoch callback of another run
        yield
        return
    _state.raise_pending()
    _state.is_held = True
    try:
        yield
    finally:
        _state.is_held = False
    _state.raise_pending()


def pending() -> int:
    """Return the number of the signal that waits for the end of a `delay_signals` block, or 0."""
    return _state.pending or 0


def take(number: int) -> Stopped:
    """Return the exception for a signal that this or another process of the run got. It is no longer pending."""
    _state.pending = None
    return Stopped(number, is_torn=False)


@contextmanager
def admit_signals() -> Iterator[None]:
    """Let signals interrupt the block at once, inside a `delay_signals` block."""
    was_held, _state.is_held = _state.is_held, False
    try:
        if was_held:
            _state.raise_pending()
        yield
    finally:
        _state.is_held = was_held
