"""The processes that train one run together. `Group` is the null object for a process that works alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)


class LeaderFailed(Exception):
    """Raised in the other processes when process 0 has an error that it handles: they wait for its next order."""


class Group:
    """A group of one process: nothing is sent, and every method returns what this process has.

    rank: number of this process, from 0; process 0 leads.
    size: number of processes.
    local_rank, local_size: the same among the processes of this host."""

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1

    @property
    def leads(self) -> bool:
        """Return whether this process composes, locks, writes and logs."""
        return self.rank == 0

    def part(self, count: int) -> tuple[int, int]:
        """The first row of a batch of `count` rows that this process computes, and the one after its last."""
        return 0, count

    # --- tensors ---

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes. All of one type are sent in one buffer, in their order, so
        that the order of every sum is fixed."""

    def joined(self, part: Tensor, count: int) -> Tensor:
        """Return the rows of a whole batch, of which each process has its part.

        Gradients reach this process's rows alone. They are multiplied by count / len(part), because every process
        weights its loss by len(part) / count.

        part: the rows of this process, (N, ...).
        count: number of rows of the batch."""
        return part

    # --- objects ---

    def dealt(self, items: Sequence[T], work: Callable[[T], R]) -> list[R]:
        """Deal the items out to the processes, and return work(item) of all of them, in the order of the items."""
        return [work(item) for item in items]

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return [value]

    def collected(self, tensor: Tensor) -> list[Tensor]:
        """In process 0 the tensors of all processes, by rank; nothing in the others. They are on the CPU, and their
        shapes may differ."""
        return [tensor]

    def from_leader(self, value: T) -> T:
        """The value of process 0."""
        return value

    def led(self, work: Callable[[], T]) -> T | None:
        """Do the work in process 0 alone, and return its result there. If it raises, the others raise LeaderFailed."""
        return work()

    # --- decisions ---

    def agree(self, *words: bool) -> tuple[bool, ...]:
        """Return for each word whether any process says it. A signal that any process got is agreed on too."""
        return words

    def agreed_error(self, error: E) -> E:
        """Return an error that all processes raise at this place, so that it ends their common work in order."""
        return error

    def has_agreed_on(self, error: BaseException) -> bool:
        """Return whether all processes raise this error at the same place."""
        return True

    def raise_stopped(self) -> None:
        """Raise Stopped in all processes if any of them had got a signal when they last agreed."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Surround work that all processes do together: signals wait until the processes agree on them, and an error in
        one process ends the run, unless all processes raise it."""
        yield

    # --- orders ---

    def obey(self, until: str) -> None:
        """Follow the orders of process 0 until this one comes. Called by the others."""

    def order(self, kind: str, content: Any = None) -> None:
        """Tell the other processes what to do next. Called by process 0."""


ALONE = Group()
_current: list[Group] = [ALONE]


def current() -> Group:
    """The group of this process. One is alone until `enter`."""
    return _current[-1]


@contextmanager
def enter(group: Group) -> Iterator[None]:
    """Make a group that of this process for the block."""
    _current.append(group)
    try:
        yield
    finally:
        _current.pop()
