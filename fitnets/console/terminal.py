"""Shows text, tables and progress bars on a terminal, and plain lines elsewhere."""

import io
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

from fitnets.console import tables

T = TypeVar("T")
_PLAIN_WIDTH = 120
_LABEL = re.compile(r" *\S+ {2,}| *")
"""The part of a line before its text: a label and at least two spaces, or an indentation."""


class Terminal:
    """Prints rich output on a terminal, and plain lines that are at least 120 columns wide elsewhere.

    quiet: omit all that the user need not know
    aside: print to standard error, because standard output holds a machine-readable result
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False, aside: bool = False):
        self.quiet = quiet
        self.console = console or Console(highlight=False, markup=False, stderr=aside)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, _PLAIN_WIDTH)

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def narrate(self, text: str) -> None:
        """Print text that the user need not know, unless quiet."""
        if not self.quiet:
            self.say(text)

    def explain(self, text: str) -> None:
        """Print lines of labels and text, unless quiet.

        On a terminal a long line is broken between words and continues under the column of its text. Elsewhere every
        line stays whole.
        """
        if self.console.is_terminal:
            text = "\n".join(hanging(line, self.console.width) for line in text.splitlines())
        self.narrate(text)

    def track(self, items: Sequence[T], title: str) -> Iterable[T]:
        """Iterate over the items with a progress bar under the title; the bar is shown on a terminal only."""
        return track(items, title, console=self.console, transient=True, disable=not self.console.is_terminal)

    def show(self, table: tables.Table) -> None:
        self.table(table.title, table.header, table.rows)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print the title and the table below it.

        If a terminal is too narrow for the table, every row becomes a paragraph. No word is broken and no hash is cut.
        """
        is_terminal = self.console.is_terminal
        self.console.print(title, soft_wrap=not is_terminal)
        room = self.console.width if is_terminal else sys.maxsize
        widths = tables.column_widths(header, rows, room)
        if widths is None:
            self._paragraphs(header, rows)
            return
        table = Table()
        for index, (column, width) in enumerate(zip(header, widths, strict=True)):
            table.add_column(column, justify="left" if index == 0 else "right", width=width)
        for row in rows:
            table.add_row(*row)
        console_width = self.console.width
        self.console.width = max(console_width, sum(widths) + 3 * len(widths) + 1)
        self.console.print(table)
        self.console.width = console_width

    def _paragraphs(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        labels = [" ".join(name.split()) for name in header]
        longest = max(map(len, labels))
        for row in rows:
            lines = (f"{label:<{longest}}  {' '.join(cell.split())}" for label, cell in zip(labels, row, strict=True))
            self.say("\n".join(["", *(hanging(line, self.console.width) for line in lines)]))


def printed(show: Callable[[Terminal], None], *, width: int) -> str:
    """Return the text that `show` prints to a terminal of at least `width` columns."""
    text = io.StringIO()
    show(Terminal(Console(file=text, width=width, highlight=False, markup=False)))
    return text.getvalue()


def hanging(line: str, width: int) -> str:
    """Break a line between words; further lines begin under the column of its text.

    A word that is longer than a line, such as a path, stays whole.
    """
    match = _LABEL.match(line)
    label = match[0] if match and len(match[0]) < width // 2 else ""
    parts = textwrap.wrap(
        line[len(label) :], width, initial_indent=label, subsequent_indent=" " * len(label), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(parts) or line
