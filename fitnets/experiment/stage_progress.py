"""Shows the progress of a training stage: a bar on a terminal, one line per epoch in a file or pipe."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fitnets.console.terminal import Terminal
from fitnets.training.state import Epoch, TrainingState

_STAGE_WIDTH = len("retrain_student")
_LONG_S = 0.05
"""time for the teacher's outputs that is shown, in seconds"""


@contextmanager
def shown(terminal: Terminal, name: str, epochs: int, steps_per_epoch: int) -> Iterator["StageProgress"]:
    """Show the progress of a stage while the block runs.

    name: the title of the bar
    epochs: the number of epochs, at most"""
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}"),
        TimeRemainingColumn(),
    )
    is_terminal = terminal.console.is_terminal
    with Progress(*columns, console=terminal.console, disable=not is_terminal, transient=terminal.quiet) as progress:
        yield StageProgress(terminal, progress, name, epochs, steps_per_epoch)


class StageProgress:
    """Observes the training loop: moves the bar with every update and prints every epoch."""

    def __init__(self, terminal: Terminal, progress: Progress, name: str, epochs: int, steps_per_epoch: int):
        self.terminal = terminal
        self.progress = progress
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.task = progress.add_task(name, total=epochs, best="")

    def on_step(self) -> None:
        self.progress.advance(self.task, 1 / self.steps_per_epoch)

    def on_resume(self, state: TrainingState) -> None:
        self.progress.update(self.task, completed=state.epoch)
        place = f"epoch {state.epoch + 1}, update {state.batches + 1}" if state.ended_by is None else "its end"
        self.terminal.say(f"the {state.stage.name} stage resumes from a checkpoint, at {place}")

    def on_epoch(self, epoch: Epoch) -> None:
        self.progress.update(self.task, completed=epoch.epoch + 1)
        if epoch.best:
            selected_by = dict([next(iter(epoch.valid.items()))])
            self.progress.update(self.task, best=f"best: epoch {epoch.epoch + 1}, {values(selected_by)}")
        if not self.terminal.console.is_terminal:
            width = max(3, len(str(self.epochs)))
            place = f"{epoch.stage:>{_STAGE_WIDTH}} epoch {epoch.epoch + 1:>{width}}/{self.epochs}"
            losses = values({"train_loss": epoch.train["train_loss"], **epoch.valid}, aligned=True)
            best = "best" if epoch.best else "    "
            has_waited = epoch.teacher_seconds >= _LONG_S
            teacher = f", after {epoch.teacher_seconds:.1f} s for the teacher's outputs" if has_waited else ""
            self.terminal.narrate(f"{place}  {losses}  {best} {epoch.seconds:>6.1f} s{teacher}")


def values(by_name: dict[str, float], *, aligned: bool = False) -> str:
    """Format values with their names: errors in per cent, losses in nats (the hint loss in squared activations).

    aligned: pad the values, so that those of all epochs stand in columns"""
    per_cent, loss = (6, 9) if aligned else (0, 0)
    return "  ".join(
        f"{name} {100 * value:>{per_cent}.2f} %" if name.endswith("error") else f"{name} {value:>{loss}.4g}"
        for name, value in by_name.items()
    )
