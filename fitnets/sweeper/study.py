"""`hydra/sweeper=study`: one process is one worker of an Optuna study. Start it as often, and on as many machines, as
you like: the same command again goes on, started elsewhere it adds a worker, and a killed worker costs nothing.

The study has `n_trials` trials over all workers and restarts. Not counted are those over budget (known before
training), repeated parameters, and those that are tried once more since their worker died. What a trial trained lies in
the store like any run; the trial records the hash.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

from fitnets.console.quantities import plural
from fitnets.errors import ConfigError, without_passwords
from fitnets.paths import expanded

if TYPE_CHECKING:
    from fitnets.config import Tracker


@dataclass
class StudyConf:
    """Keys of `hydra.sweeper`."""

    _target_: str = "fitnets.sweeper.study.StudySweeper"
    study_name: str = MISSING
    directory: str = "${store}/sweeps/${hydra.sweeper.study_name}"
    """of the study: its front, its workers' locks"""
    storage: str = "${hydra.sweeper.directory}/study.log"
    """a file (one machine, or a shared file system), or a URL: sqlite:///FILE, postgresql://USER@HOST/DATABASE"""
    objectives: list[str] = field(default_factory=lambda: ["accuracy"])
    """measures, on validation"""
    n_trials: int = 20
    """in all, over all workers and restarts"""
    max_failures: int = 3
    """in a row in this worker, before it gives up"""
    sampler: Any = None
    """_target_ of an Optuna sampler and its arguments; None: TPE. Its seed is moved on with every trial"""
    pruner: Any = None
    """_target_ of an Optuna pruner, for one objective; None: no trial is cut short"""
    seed: int = 0
    """of the default sampler"""
    params: dict[str, Any] = field(default_factory=dict)
    """the search space, as overrides with choices, ranges and intervals"""


class StudySweeper(Sweeper):
    """Opens the study, works at it until it is complete, and shows its front."""

    def __init__(self, **conf: Any) -> None:
        self.conf = OmegaConf.create(conf)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.loader = hydra_context.config_loader
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from fitnets import signals
        from fitnets.console.terminal import Terminal
        from fitnets.store import layout, locks
        from fitnets.store.layout import StoreLayout
        from fitnets.sweeper import (
            address,
            front,
            storage,  # Optuna and the like: not for --help
            study_settings,
        )
        from fitnets.sweeper.composer import Composer
        from fitnets.sweeper.worker import Worker
        from fitnets.tracking import wandb_mirror

        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("a study's worker is one process, not ranks of torchrun: start the command several times")
        assert self.config is not None  # setup was called
        sys.argv = [without_passwords(word) for word in sys.argv]  # W&B writes it down
        folder, name = Path(self.config.hydra.runtime.cwd), str(self.conf.study_name)
        address.check_name(name)
        place = address.absolute(self.conf.storage, folder)
        space, fixed = study_settings.parsed(self.conf.params, arguments)
        objectives = study_settings.objectives(self.conf)
        terminal = Terminal()
        worker = Worker(
            self.conf,
            self.launcher,
            space=space,
            fixed=fixed,
            composer=Composer(self._compose),
            has_budgets=bool(self.config.sweep.budgets),
            directory=(folder / expanded(self.conf.directory)).resolve(),
            terminal=terminal,
        )
        record = StoreLayout((folder / expanded(self.config.store)).resolve()).study(name) / layout.STUDY
        tracker = cast("Tracker", OmegaConf.to_object(self.config.tracker))
        wandb_mirror.is_on(tracker)  # a WANDB_MODE that there is not would fail every trial
        note = address.check(record, name, place, folder)
        worker.check(list(objectives.values()))
        study = worker.study = storage.open_study(place, name, objectives, say=terminal.say)
        study_settings.check_same_study(study, study_settings.shared_settings(self.config, space, objectives))
        address.leave(record, study, place)
        if note is not None:
            terminal.say(note)
        terminal.say(f"study {name}: {plural(self.conf.n_trials, 'trial')} in {without_passwords(place)}")
        with signals.listening(), storage.short_errors(place):
            with locks.locked(worker.place, "itself", terminal.say):
                worker.work()
            front.conclude(study, worker.launch, worker.directory, tracker, terminal)

    def _compose(self, overrides: list[str]) -> DictConfig:
        """A job with these overrides, without the part that is Hydra's."""
        assert self.config is not None
        composed = self.loader.load_sweep_config(self.config, overrides)
        with open_dict(composed):
            composed.pop("hydra")
        return composed
