"""`hydra/sweeper=study`: one process is one worker of an Optuna study.

Starting the same command again resumes the study. Starting it while the study runs, here or on another machine, adds a
worker. The trial of a killed worker is run once more. `n_trials` counts the trials of all workers and restarts. Not
counted are trials over budget (known before training), repeated parameters, and trials that are run once more because
their worker died. The runs of a trial lie in the store like any run, and the trial records their hashes.
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
    """folder of the study, for its front and its workers' locks"""
    storage: str = "${hydra.sweeper.directory}/study.log"
    """a file (one machine, or a shared file system), or a URL: sqlite:///FILE, postgresql://USER@HOST/DATABASE"""
    objectives: list[str] = field(default_factory=lambda: ["accuracy"])
    """measures on the validation images"""
    n_trials: int = 20
    """total over all workers and restarts"""
    max_failures: int = 3
    """failed trials in a row before this worker gives up"""
    sampler: Any = None
    """_target_ of an Optuna sampler, and its arguments; None for TPE. Each trial adds to the sampler's seed"""
    pruner: Any = None
    """_target_ of an Optuna pruner, for a single objective; None to run every trial to its end"""
    seed: int = 0
    """seed of the default sampler"""
    params: dict[str, Any] = field(default_factory=dict)
    """the search space: overrides whose values are choices, ranges or intervals"""


class StudySweeper(Sweeper):
    """Opens the study, works on it until it is complete, and shows its front."""

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
        from fitnets.composition.composer import Composer
        from fitnets.console.terminal import Terminal
        from fitnets.store import layout, locks
        from fitnets.store.layout import StoreLayout
        from fitnets.sweeper import address, front, storage, study_settings  # they import Optuna, not for --help
        from fitnets.sweeper.worker import Worker
        from fitnets.tracking import wandb_mirror

        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("a study's worker is one process, not ranks of torchrun: start the command several times")
        assert self.config is not None  # setup was called
        sys.argv = [without_passwords(word) for word in sys.argv]  # W&B stores the command line
        folder, name = Path(self.config.hydra.runtime.cwd), str(self.conf.study_name)
        address.check_name(name)
        storage_address = address.absolute(self.conf.storage, folder)
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
        wandb_mirror.is_on(tracker)  # raises for a WANDB_MODE that would fail every trial
        note = address.check(record, name, storage_address, folder)
        worker.check(list(objectives.values()))
        study = worker.study = storage.open_study(storage_address, name, objectives, say=terminal.say)
        study_settings.check_same_study(study, study_settings.shared_settings(self.config, space, objectives))
        worker.space = study_settings.space_of_study(study, space)
        address.write_record(record, study, storage_address)
        if note is not None:
            terminal.say(note)
        terminal.say(f"study {name}: {plural(self.conf.n_trials, 'trial')} in {without_passwords(storage_address)}")
        with signals.raise_signals(), storage.short_errors(storage_address):
            with locks.locked(worker.lock_path, "itself", terminal.say):
                worker.work()
            front.conclude(study, worker.launch, worker.directory, tracker, terminal)

    def _compose(self, overrides: list[str]) -> DictConfig:
        """Compose a job's configuration, without the key `hydra`."""
        assert self.config is not None
        composed = self.loader.load_sweep_config(self.config, overrides)
        with open_dict(composed):
            composed.pop("hydra")
        return composed
