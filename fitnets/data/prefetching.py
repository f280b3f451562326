"""Work that a thread does ahead of the loop that needs its results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetched(items: Iterable[T], work: Callable[[T], R], ahead: int) -> Generator[tuple[T, R], None, None]:
    """Yield (item, work(item)) in the order of the items. A thread works at the items that come next.

    An exception in the thread is raised here, in its turn. When the iterator is closed, also early, the thread has
    ended.

    ahead: number of items that are worked at, or wait, beside the one that is needed."""
    with ThreadPoolExecutor(1, "prefetching") as pool:
        waiting: deque[tuple[T, Future[R]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
