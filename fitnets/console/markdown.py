"""Formats tables as Markdown."""

from collections.abc import Iterable, Sequence

_BAR = r"\|"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the table in Markdown; bars within a cell are escaped."""
    return "\n".join(_line(cells) for cells in (header, ["---"] * len(header), *rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"
