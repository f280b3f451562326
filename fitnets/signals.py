"""SIGINT, SIGTERM and SIGHUP (the terminal was closed): a checkpoint first, then the process leaves."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Stopped(KeyboardInterrupt):
    """The process was asked to stop. exit_code: 128 + the signal's number, as shells have it; is_torn: it was asked
    twice, and what was held is half done."""

    def __init__(self, number: int, *, is_torn: bool):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        self.is_torn = is_torn


class _Requests:
    """What was asked for, and whether it has to wait. waiting: the number of a signal that nobody was told of yet."""

    def __init__(self) -> None:
        self.is_held = False
        self.waiting: int | None = None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if self.is_held and self.waiting is None:
            self.waiting = number
            return
        self.waiting = None
        raise Stopped(number, is_torn=self.is_held)

    def tell(self) -> None:
        """Raises Stopped where a request waits."""
        number, self.waiting = self.waiting, None
        if number is not None:
            raise Stopped(number, is_torn=False)


_requests = _Requests()


@contextmanager
def listening() -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP raise Stopped, unless the process ignores them (nohup). Signals reach the main
    thread alone: in others nothing changes. A request that an error inside of `held` has outlived is told first."""
    if current_thread() is not main_thread():
        yield
        return
    _requests.tell()
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    earlier = {number: signal.signal(number, _requests.receive) for number in heard}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """A first request waits until the block has ended; a second one does not. Where an error ends the block, it waits
    on: whoever goes on after the error is told by the next block, or by `listening`."""
    if current_thread() is not main_thread():
        yield
        return
    _requests.tell()
    _requests.is_held = True
    try:
        yield
    finally:
        _requests.is_held = False
    _requests.tell()
