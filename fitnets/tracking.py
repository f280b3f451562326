"""Weights & Biases, as a mirror of the run directory; the only module that imports wandb."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fitnets.config import Config, NoTracker, Wandb
from fitnets.options import ConfigError, plain


class Tracker(Protocol):
    def log(self, step: int, row: dict[str, Any]) -> None:
        """An epoch's metrics, named `<stage>/<metric>`. step: epochs since the start of the run, over all stages."""

    def summarise(self, result: dict[str, Any]) -> None:
        """The final `result.json`."""


class Silent:
    """A tracker that keeps nothing."""

    def log(self, step: int, row: dict[str, Any]) -> None:
        pass

    def summarise(self, result: dict[str, Any]) -> None:
        pass


@contextmanager
def tracking(config: Config, directory: Path, run_name: str) -> Iterator[Tracker]:
    """The configured tracker, closed as finished, or as failed when the block raises."""
    match config.tracker:
        case NoTracker():
            yield Silent()
        case Wandb() as settings:
            with _wandb_run(settings, config, directory, run_name) as run:
                yield _WandbTracker(run)


@contextmanager
def _wandb_run(settings: Wandb, config: Config, directory: Path, run_name: str) -> Iterator[Any]:
    if settings.mode != "online":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else even an offline run looks up a host name
    import wandb

    try:
        run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            tags=settings.tags,
            mode=settings.mode,
            name=run_name,
            dir=directory,
            config=plain(config),
            job_type=config.method.name,
            settings=wandb.Settings(silent=True, console="off"),
            reinit="finish_previous",
        )
    except wandb.errors.Error as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"tracker.mode={settings.mode}: W&B cannot start ({reason}): "
            "run `wandb login`, or give tracker.mode=offline"
        ) from error
    with run:
        yield run


class _WandbTracker:
    def __init__(self, run: Any):
        self.run = run

    def log(self, step: int, row: dict[str, Any]) -> None:
        stage = row["stage"]
        named = {f"{stage}/{name}": value for name, value in row.items() if isinstance(value, int | float)}
        self.run.log(named, step=step)

    def summarise(self, result: dict[str, Any]) -> None:
        self.run.summary.update(result)
