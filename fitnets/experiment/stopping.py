"""The run that a stage's early end makes of another run."""

import shutil
from dataclasses import replace

from fitnets.config import Config
from fitnets.data import splits
from fitnets.errors import StageStoppedError
from fitnets.machine import devices
from fitnets.planning import identity
from fitnets.progress import Progress
from fitnets.store import layout, locks
from fitnets.store.layout import StoreLayout


def shortened(config: Config, stopped: StageStoppedError, progress: Progress) -> Config:
    """The configuration of the run whose stage ends where it was stopped.

    That run has hashes of its own, so it is never taken for the whole one. Its stage resumes from a copy of the whole
    one's checkpoint."""
    schedule = config.schedule
    stage = replace(getattr(schedule, stopped.stage), stop_after=stopped.epochs)
    shorter = replace(config, schedule=replace(schedule, **{stopped.stage: stage}))
    progress.say(f"stopped early, as schedule.{stopped.stage}.stop_after={stopped.epochs} does")
    if stopped.checkpoints is not None and not config.rerun:
        precision = devices.precision(config, devices.set_up_device(config.engine))
        hashes = identity.hashes(shorter, splits.digest(config.dataset, config.root, progress), precision)
        hashed = {"teacher": hashes.teacher, "hint": hashes.hint, "student": hashes.run}[stopped.stage]
        assert hashed is not None
        kind = "run" if stopped.stage == "student" else stopped.stage
        artifact = StoreLayout(config.root).folder(kind) / hashed
        target = layout.checkpoint_folder(artifact) / stopped.checkpoints.name
        if not target.exists() and not locks.is_locked(artifact):
            shutil.copytree(stopped.checkpoints, target)
    return shorter
