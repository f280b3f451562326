"""Tables as text."""

from collections.abc import Iterable, Sequence

_BAR = r"\|"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, bars within a cell escaped."""
    return "\n".join(_line(cells) for cells in (header, ["---"] * len(header), *rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"
