"""Composes configurations for callers in Python."""

from collections.abc import Sequence
from pathlib import Path

from fitnets.composition import loading
from fitnets.config import Config
from fitnets.library.host import untouched


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Config:
    """Return the configuration that `fitnets run OVERRIDES` would use: checked dataclasses, nothing is written.

    overrides: words such as "dataset=mnist" and "schedule.student.epochs=3"
    config_dir: folder with options of your own

    It also works inside `@hydra.main`, whose configuration stays as it is.

    Raises ConfigError, with the sentence of the command, for every mistake."""
    words = [overrides] if isinstance(overrides, str) else [str(word) for word in overrides]
    with untouched():
        return loading.load(words, None if config_dir is None else str(config_dir))
