"""A table, to be shown or written as Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from fitnets.console import markdown

_WORD = re.compile(r"[^\s\n]+(?: %)?")
"""what is not broken within a cell; a number keeps its per cent"""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        return f"{self.title}\n\n{markdown.table(self.header, self.rows)}\n"


def column_widths(header: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The width of each column, in characters, so that the whole table with its borders fits into `room`. No word, and
    so no hash, is broken. None: there is no such table."""
    columns = [[name, *(row[index] for row in rows)] for index, name in enumerate(header)]
    widths = [max(cell_len(line) for cell in cells for line in cell.split("\n")) for cells in columns]
    least = [max((cell_len(word) for cell in cells for word in _WORD.findall(cell)), default=0) for cells in columns]
    room -= 3 * len(columns) + 1
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda index: widths[index] - least[index])
        widths[widest] -= 1
    return widths
