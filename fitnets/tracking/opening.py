"""Opens the tracker that a configuration names."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from fitnets.config import Config, TensorBoard
from fitnets.config import Tracker as TrackerSettings
from fitnets.tracking import tensorboard_mirror, wandb_mirror
from fitnets.tracking.tracker import NoTracking, Say, Tracker


def check(settings: TrackerSettings) -> None:
    """Raise ConfigError, before the training, for a tracker that cannot be opened: without its package, or with an
    unknown WANDB_MODE."""
    wandb_mirror.is_on(settings)
    if isinstance(settings, TensorBoard):
        tensorboard_mirror.check()


def open_tracker(
    config: Config, directory: Path, run_name: str, say: Say, continued: str | None = None
) -> AbstractContextManager[Tracker]:
    """Return the configured tracker for a `with` block.

    directory: the run directory
    run_name: name of the run in the tracker
    continued: id of the W&B run to resume; None for a new one

    Raises ConfigError if W&B has no key or refuses it."""
    settings = config.tracker
    if isinstance(settings, TensorBoard):
        return tensorboard_mirror.opened(config, directory, say)
    if wandb_mirror.is_on(settings):
        return wandb_mirror.opened(config, directory, run_name, say, continued)
    return nullcontext(NoTracking())
