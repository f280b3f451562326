"""Tables that the terminal shows or that are written as Markdown, and the widths of their columns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from fitnets.console import markdown

_WORD = re.compile(r"[^\s\n]+(?: %)?")
"""A part of a cell that is never broken; a number keeps its per cent sign."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        return f"{self.title}\n\n{markdown.table(self.header, self.rows)}\n"


def column_widths(header: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return the width of each column in characters, or None if the table cannot fit.

    room: width of the whole table with its borders, in characters

    Cells are broken only between words, so every hash stays whole.
    """
    columns = [[name, *(row[index] for row in rows)] for index, name in enumerate(header)]
    widths = [max(cell_len(line) for cell in cells for line in cell.split("\n")) for cells in columns]
    narrowest = [
        max((cell_len(word) for cell in cells for word in _WORD.findall(cell)), default=0) for cells in columns
    ]
    room -= 3 * len(columns) + 1
    if sum(narrowest) > room:
        return None
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda index: widths[index] - narrowest[index])
        widths[widest] -= 1
    return widths
