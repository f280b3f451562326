"""TensorBoard as a mirror of the run directory. This is the only module that imports its writer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fitnets.config import Config
from fitnets.config.options import plain
from fitnets.errors import ConfigError
from fitnets.store import layout
from fitnets.tracking.tracker import Say, Tracker

_FINAL = ("valid_accuracy", "test_accuracy", "valid_loss", "test_loss")
"""figures of the finished student, beside the hyperparameters"""


def check() -> None:
    """Raise ConfigError if the package is missing."""
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "tracker=tensorboard: the package tensorboard is not installed: pip install 'fitnets[tensorboard]', or "
            "give tracker=none"
        )


@contextmanager
def opened(config: Config, directory: Path, say: Say) -> Iterator[Tracker]:
    """Write event files into the run directory while the block runs. They are closed however it ends."""
    tracker = _TensorBoardTracker(config, directory / layout.TENSORBOARD, say)
    try:
        yield tracker
    finally:
        tracker.close()


class _TensorBoardTracker:
    """One folder of event files for one run: scalars by step, at the end the hyperparameters with the final figures.

    PyTorch's own `add_hparams` would make a second run, named by the clock. Errors are reported and not raised."""

    def __init__(self, config: Config, folder: Path, say: Say):
        self.config, self.folder, self.say = config, folder, say
        self.writer: Any = None
        self.is_lost = False
        with self._errors_reported():
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder))

    def log(self, step: int, row: dict[str, Any]) -> None:
        with self._errors_reported():
            for name, value in row.items():
                if isinstance(value, int | float):
                    self.writer.add_scalar(f"{row['stage']}/{name}", value, step)
            self.writer.flush()

    def summarise(self, result: dict[str, Any]) -> None:
        student = result.get("student") or {}
        figures = {name: float(student[name]) for name in _FINAL if name in student}
        if result.get("status") != "finished":
            return
        with self._errors_reported():
            from torch.utils.tensorboard.summary import hparams

            named = {f"final/{name}": value for name, value in figures.items()}
            for summary in hparams(flattened(plain(self.config)), named):  # type: ignore[no-untyped-call]
                self.writer.file_writer.add_summary(summary)
            for name, value in named.items():
                self.writer.add_scalar(name, value)

    def keep_student(self) -> None:
        pass

    def close(self) -> None:
        with self._errors_reported():
            self.writer.close()

    @contextmanager
    def _errors_reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self.is_lost:
                self.say(f"TensorBoard's files cannot be written ({error}): the run goes on without them")
            self.is_lost = True


def flattened(value: Any, key: str = "") -> dict[str, int | float | str | bool]:
    """The leaves of a table by dotted key, in types that TensorBoard takes: lists are JSON, None is `null`."""
    if isinstance(value, dict):
        flat: dict[str, int | float | str | bool] = {}
        for name, item in value.items():
            flat |= flattened(item, f"{key}.{name}" if key else name)
        return flat
    return {key: value if isinstance(value, int | float | str | bool) else json.dumps(value)}
