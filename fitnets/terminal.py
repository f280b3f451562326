"""What a person sees: progress bars on a terminal, one line an epoch elsewhere, tables."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table

from fitnets import tables

if TYPE_CHECKING:  # tables alone need no PyTorch
    from fitnets.state import Epoch, TrainingState

T = TypeVar("T")
_PLAIN_WIDTH = 120


class Terminal:
    """Rich output on a terminal; plain lines elsewhere. quiet: only what a person has to know; aside: on standard
    error, since standard output is for a machine."""

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
        table = Table(title=title, title_justify="left")
        for index, column in enumerate(header):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)


class StageProgress:
    """An observer of the loop: moves the bar with every update, tells every epoch."""

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
            place = f"{epoch.stage:>8} epoch {epoch.epoch + 1:>3}/{self.epochs}"
            told = values({"train_loss": epoch.train["train_loss"], **epoch.valid})
            self.terminal.narrate(f"{place}  {told}  {'best ' if epoch.best else '     '} {epoch.seconds:.1f} s")


def values(named: dict[str, float]) -> str:
    """Values with their units: errors in per cent, losses in nats (the hint loss has none)."""
    return "  ".join(
        f"{name} {100 * value:.2f} %" if name.endswith("error") else f"{name} {value:.4g}"
        for name, value in named.items()
    )


def measure(name: str, value: float) -> str:
    """A measure of `measures` with its unit."""
    if name.startswith("relative_"):
        return f"{value:.3g} x"
    if name.startswith("latency"):
        return f"{value:.2f} ms"
    if name.endswith(("parameters", "multiplications")):
        return count(value)
    if name == "weights_bytes":
        return f"{value / 1000:.1f} kB"
    return f"{value:.4g} nats" if name == "loss" else f"{100 * value:.2f} %"


def seconds(duration_s: float) -> str:
    """'12 s', '3 min 05 s', '2 h 40 min'."""
    whole = round(duration_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def megabytes(size: int) -> str:
    """'0.4 MB', '1,234.5 MB'. size: in bytes."""
    return f"{size / 1e6:,.1f} MB"


def count(number: float) -> str:
    """'940', '29.9 k', '4.97 M', '1.20 G'."""
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{prefix}"
    return f"{number:.0f}"
