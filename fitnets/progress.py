"""How long work reports its progress, without knowing who shows it."""

from collections.abc import Callable, Iterable
from typing import Protocol

Track = Callable[[range, str], Iterable[int]]
"""Shows the progress through a range under a title"""


class Progress(Protocol):
    """Who is told of long work."""

    def track(self, items: range, what: str, /) -> Iterable[int]:
        """The items, with the progress through them shown under a title."""

    def say(self, text: str, /) -> None: ...
