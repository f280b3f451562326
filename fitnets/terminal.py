"""What a person sees: progress bars on a terminal, one line an epoch elsewhere, tables."""

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table

from fitnets import quantities, tables
from fitnets.quantities import number

if TYPE_CHECKING:  # tables alone need no PyTorch
    from fitnets.state import Epoch, TrainingState

T = TypeVar("T")
_PLAIN_WIDTH = 120
_LABEL = re.compile(r" *\S+ {2,}| *")
"""what stands before the text of a line: a label and at least two spaces, or an indentation"""

count, seconds, megabytes = quantities.number, quantities.duration, quantities.size


class Terminal:
    """Rich output on a terminal; plain lines, at least 120 columns wide, elsewhere.

    quiet: only what a person has to know
    aside: on standard error, since standard output is for a machine"""

    def __init__(self, console: Console | None = None, *, quiet: bool = False, aside: bool = False):
        self.quiet = quiet
        self.console = console or Console(highlight=False, markup=False, stderr=aside)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, _PLAIN_WIDTH)

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def narrate(self, text: str) -> None:
        """What need not be known."""
        if not self.quiet:
            self.say(text)

    def explain(self, text: str) -> None:
        """Print lines of labels and text unless quiet. On a terminal a long line goes on under the column of its text,
        and is broken between words alone; elsewhere every line stays whole."""
        if self.console.is_terminal:
            text = "\n".join(hanging(line, self.console.width) for line in text.splitlines())
        self.narrate(text)

    def track(self, items: Sequence[T], what: str) -> Iterable[T]:
        """The items, with a bar while they are worked through."""
        return track(items, what, console=self.console, transient=True, disable=not self.console.is_terminal)

    @contextmanager
    def stage(self, name: str, epochs: int, steps_per_epoch: int) -> Iterator["StageProgress"]:
        columns = (
            TextColumn("{task.description:>8}"),
            BarColumn(16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}"),
            TimeRemainingColumn(),
        )
        is_shown = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not is_shown, transient=self.quiet) as progress:
            yield StageProgress(self, progress, name, epochs, steps_per_epoch)

    def show(self, table: tables.Table) -> None:
        self.table(table.title, table.header, table.rows)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print the title, then the table below it. Where a terminal is too narrow for it, every row becomes a
        paragraph: no word is broken, and no hash is cut."""
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
        before = self.console.width
        self.console.width = max(before, sum(widths) + 3 * len(widths) + 1)
        self.console.print(table)
        self.console.width = before

    def _paragraphs(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        labels = [" ".join(name.split()) for name in header]
        longest = max(map(len, labels))
        for row in rows:
            lines = (f"{label:<{longest}}  {' '.join(cell.split())}" for label, cell in zip(labels, row, strict=True))
            self.say("\n".join(["", *(hanging(line, self.console.width) for line in lines)]))


class StageProgress:
    """An observer of the loop: moves the bar with every update, prints every epoch."""

    def __init__(self, terminal: Terminal, progress: Progress, name: str, epochs: int, steps_per_epoch: int):
        self.terminal = terminal
        self.progress = progress
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.task = progress.add_task(name, total=epochs, best="")

    def on_step(self) -> None:
        self.progress.advance(self.task, 1 / self.steps_per_epoch)

    def on_resume(self, state: "TrainingState") -> None:
        self.progress.update(self.task, completed=state.epoch)
        place = f"epoch {state.epoch + 1}, update {state.batches + 1}" if state.ended_by is None else "its end"
        self.terminal.say(f"the {state.objective.name} stage goes on from a checkpoint, at {place}")

    def on_epoch(self, epoch: "Epoch") -> None:
        self.progress.update(self.task, completed=epoch.epoch + 1)
        if epoch.best:
            watched = dict([next(iter(epoch.valid.items()))])
            self.progress.update(self.task, best=f"best: epoch {epoch.epoch + 1}, {values(watched)}")
        if not self.terminal.console.is_terminal:
            width = max(3, len(str(self.epochs)))
            place = f"{epoch.stage:>{_STAGE_WIDTH}} epoch {epoch.epoch + 1:>{width}}/{self.epochs}"
            shown = values({"train_loss": epoch.train["train_loss"], **epoch.valid}, aligned=True)
            best = "best" if epoch.best else "    "
            self.terminal.narrate(f"{place}  {shown}  {best} {epoch.seconds:>6.1f} s")


_STAGE_WIDTH = len("retrain_student")


def values(named: dict[str, float], *, aligned: bool = False) -> str:
    """Values with their units: errors in per cent, losses in nats (the hint loss has none).

    aligned: padded to the widths that the same values take in other epochs"""
    per_cent, loss = (6, 9) if aligned else (0, 0)
    return "  ".join(
        f"{name} {100 * value:>{per_cent}.2f} %" if name.endswith("error") else f"{name} {value:>{loss}.4g}"
        for name, value in named.items()
    )


def hanging(line: str, width: int) -> str:
    """The line broken between words, its further lines under the column where its text begins. A word that is longer
    than a line, as a path may be, stays whole."""
    found = _LABEL.match(line)
    label = found[0] if found and len(found[0]) < width // 2 else ""
    parts = textwrap.wrap(
        line[len(label) :], width, initial_indent=label, subsequent_indent=" " * len(label), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(parts) or line


def measure(name: str, value: float) -> str:
    """A measure of `measures` with its unit."""
    if name.startswith("relative_"):
        return f"{value:.3g} x"
    if name.startswith("latency"):
        return f"{value:.2f} ms"
    if name.endswith(("parameters", "multiplications")):
        return number(value)
    if name == "weights_bytes":
        return quantities.size(value)
    return f"{value:.4g} nats" if name == "loss" else f"{100 * value:.2f} %"
