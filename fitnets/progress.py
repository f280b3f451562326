"""The interface by which long work reports its progress; the terminal implements it."""

from collections.abc import Callable, Iterable
from typing import Protocol

Track = Callable[[range, str], Iterable[int]]
"""Iterates over a range and shows the progress under a title."""


class Progress(Protocol):
    """Shows the user how far long work has come."""

    def track(self, items: range, title: str, /) -> Iterable[int]:
        """Iterate over the items and show the progress under the title."""

    def say(self, text: str, /) -> None: ...
