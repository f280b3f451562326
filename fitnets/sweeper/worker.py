"""One worker of a study: it asks for parameters, runs a job with them, and records the outcome."""

import gc
import math
import os
import socket
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from fitnets.composition import hydra_internals, loading, overrides
from fitnets.composition.composer import Composer
from fitnets.config import Config
from fitnets.console.quantities import duration, plural
from fitnets.console.terminal import Terminal
from fitnets.errors import BudgetError, ConfigError, LostProcessError, PrunedError
from fitnets.store import layout
from fitnets.sweeper import front, internals, job, orphans, probes, sampling, storage, trials
from fitnets.sweeper.rejections import Rejections
from fitnets.sweeper.storage import Direction
from fitnets.sweeper.units import with_unit

_POLL_S = 1.0
_SEEDS_PER_WORKER = 10_000
"""distance between the sampler seeds of two workers"""


class Worker:
    """One process that works on a study. `check` finds mistakes beforehand, `work` runs the trials.

    conf: keys of `hydra.sweeper`
    fixed: overrides that all jobs share
    composer: composes candidate configurations, to check them and their cost
    has_budgets: whether jobs have budgets for their costs
    directory: folder of the study
    """

    study: optuna.Study
    """set before `work`"""

    def __init__(
        self,
        conf: DictConfig,
        launcher: Launcher,
        *,
        space: trials.Space,
        fixed: list[str],
        composer: Composer,
        has_budgets: bool,
        directory: Path,
        terminal: Terminal,
    ):
        self.conf, self.launcher, self.terminal = conf, launcher, terminal
        self.space = space
        self.fixed = fixed
        self.composer = composer
        self.has_budgets = has_budgets
        self.directory = directory
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.failed_in_row = 0
        self.rejections = Rejections(str(conf.study_name), terminal.say)
        self.orphans = orphans.Orphans(self.name, terminal.say)

    def check(self, directions: list[Direction]) -> None:
        """Try search space, budgets, sampler and pruner. Raises ConfigError if every trial would fail."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if self.conf.sampler is not None:
            sampling.try_sampler(self.conf.sampler, self.space, directions)
        if self.conf.pruner is not None:
            sampling.try_pruner(self.conf.pruner, directions[0])
        probes.check(self.space, self._configured)
        probes.check_budgets(self.space, self._configured)

    def _configured(self, params: dict[str, Any]) -> Config:
        return loading.to_config(self.composer(self._overrides(params)))

    @property
    def lock_path(self) -> Path:
        """The path that this worker locks while it lives, so that other workers see that it is alive."""
        return self.directory / "workers" / self.name.replace(":", "-")

    def work(self) -> None:
        """Run trials until the study is complete, wait for those of other workers, and take over from dead workers."""
        gc.freeze()  # the imported modules need not be searched again after every trial
        while True:
            self.orphans.take_over(self.study, self.conf.n_trials)
            all_trials = self.study.get_trials(deepcopy=False)
            counted = trials.counted(all_trials)
            unfinished = [trial for trial in counted if not trial.state.is_finished()]
            is_queued = any(trial.state == TrialState.WAITING for trial in unfinished)
            has_room = len(counted) < self.conf.n_trials and not self._is_exhausted(all_trials)
            if is_queued or has_room:
                self._work_on_next(proposed=len(all_trials))
            elif unfinished:
                time.sleep(_POLL_S)
            else:
                return

    def _is_exhausted(self, all_trials: list[FrozenTrial]) -> bool:
        """Return whether every point of the space, or of the sampler's grid, was proposed."""
        if trials.is_exhausted(self.space, all_trials):
            return True
        sampler = self._sampler(proposed=0)
        return isinstance(sampler, optuna.samplers.GridSampler) and sampler.is_exhausted(self.study)

    # --- asking for a trial ---

    def _work_on_next(self, proposed: int) -> None:
        """Ask for a trial and run it. If this worker is stopped meanwhile, it gives the trial back at once.

        proposed: number of trials that the study has so far
        """
        self.study.sampler = self._sampler(proposed=proposed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Heartbeat of storage")  # storage.sign_of_life records heartbeats
            trial = self._ask()
        try:
            trial.set_user_attr("place", str(self.lock_path))
            trial.set_user_attr("worker", self.name)
            self._run_or_exclude(trial)
        except UpdateFinishedTrialError:
            self.terminal.say(f"trial {trial.number} was given to another worker meanwhile")
        except BaseException:
            with suppress(Exception):  # another worker can then retry the trial at once
                trial.set_user_attr("stopped", True)
                internals.tell(self.study, trial, None, TrialState.FAIL)
            raise

    def _ask(self) -> Trial:
        """Ask the study for a trial. If the sampler fails, the half-made trial is closed.

        Raises ConfigError if the sampler fails.
        """
        sampler = self.study.sampler
        before_trial = sampler.before_trial
        created: int | None = None

        def note_number(study: optuna.Study, trial: FrozenTrial) -> None:
            nonlocal created
            created = trial.number
            before_trial(study, trial)

        sampler.before_trial = note_number  # type: ignore[method-assign]
        try:
            return self.study.ask(self.space)
        except BaseException as error:
            if created is not None:
                (half_made,) = (trial for trial in self.study.get_trials(deepcopy=False) if trial.number == created)
                with suppress(Exception):
                    orphans.fail(self.study, half_made, excluded_because="stillborn")
            if not isinstance(error, Exception) or isinstance(error, StorageInternalError | SQLAlchemyError):
                raise
            raise ConfigError(
                f"hydra.sweeper.sampler cannot propose values ({trials.in_one_line(error)}): give another sampler"
            ) from error

    def _sampler(self, *, proposed: int) -> optuna.samplers.BaseSampler:
        """A sampler for one trial. Its seed depends on the trial: with a fixed seed, a restart would repeat points."""
        return sampling.for_trial(
            self.conf,
            self.space,
            shift=proposed + _SEEDS_PER_WORKER * self._rank(),
            wants_unseen=self.rejections.wants_unseen,
            is_within=self._is_within_budgets if self.has_budgets else None,
        )

    def _is_within_budgets(self, params: dict[str, Any]) -> bool:
        """Return whether the job with these parameters is within its budgets. True if it cannot be composed: running it
        reports why."""
        try:
            return not job.over_budget(self._configured(params))
        except BudgetError:
            return False
        except ConfigError:
            return True

    def _rank(self) -> int:
        """0, 1, ... among the living workers, so that workers that start together do not propose the same."""
        mine = layout.lock_file(self.lock_path).name
        return sum(lock.name < mine for lock in self.lock_path.parent.glob(".*.lock"))

    # --- trials that are not run ---

    def _run_or_exclude(self, trial: Trial) -> None:
        """Run the trial, unless it repeats an earlier one or the study has enough without it."""
        all_trials = self._settled(trial.number)
        (this,) = (frozen for frozen in all_trials if frozen.number == trial.number)
        duplicated = trials.earlier_duplicate(this, all_trials)
        if duplicated is not None:
            self._exclude_duplicate(trial, duplicated)
        elif trials.is_over_quota(trial.number, all_trials, self.conf.n_trials):
            self._exclude(trial, "surplus", TrialState.FAIL)
        else:
            self._run(trial)

    def _settled(self, number: int) -> list[FrozenTrial]:
        """All trials, once the parameters of the trials before this number are complete.

        The trials are then read once more. A database is read table by table, so one reading may show a trial's new
        worker without its new parameters.
        """
        while True:
            all_trials = self.study.get_trials(deepcopy=False)
            unclaimed = [trial for trial in all_trials if trial.number < number and trials.is_unclaimed(trial)]
            if all(self.orphans.is_orphaned(trial) for trial in unclaimed):
                return self.study.get_trials(deepcopy=False)
            time.sleep(_POLL_S / 10)

    def _exclude_duplicate(self, trial: Trial, duplicated: FrozenTrial) -> None:
        """Finish the trial with the outcome of the earlier one, so that the sampler learns from the repetition."""
        self.rejections.note_duplicate()
        trial.set_user_attr("duplicate_of", duplicated.number)
        for name, excess in duplicated.constraints.items():
            trial.set_constraint(name, excess)
        state = duplicated.state if duplicated.state in (TrialState.COMPLETE, TrialState.PRUNED) else TrialState.FAIL
        self._exclude(trial, "duplicate", state, duplicated.values if state == TrialState.COMPLETE else None)

    def _exclude_over_budget(self, trial: Trial) -> None:
        self.rejections.note_over_budget()
        self._exclude(trial, "infeasible", TrialState.PRUNED)

    def _exclude(self, trial: Trial, because: str, state: TrialState, values: Sequence[float] | None = None) -> None:
        trial.set_user_attr("closed", because)
        internals.tell(self.study, trial, values, state)
        self.rejections.add()

    # --- running a trial ---

    def launch(self, number: int, params: dict[str, Any], *more: str) -> dict[str, Any]:
        """Run the job with these parameters. Returns its measures, and raises what the job raises.

        number: number of the trial
        more: further overrides
        """
        (done,) = self.launcher.launch([[*self._overrides(params), *more]], initial_job_idx=number)
        result = hydra_internals.outcome(done)
        if done.status == JobStatus.FAILED:
            raise result
        return dict(result)

    def _overrides(self, params: dict[str, Any]) -> list[str]:
        return [*self.fixed, *(overrides.of_value(name, value) for name, value in params.items())]

    def _run(self, trial: Trial) -> None:
        self.rejections.reset_duplicates()
        started = time.monotonic()
        try:
            with storage.sign_of_life(self.study, trial):
                result = self.launch(trial.number, trial.params)
        except PrunedError as error:
            internals.tell(self.study, trial, None, TrialState.PRUNED)
            self._reset_counters()
            self._report(trial, str(error))
        except BudgetError:
            self._exclude_over_budget(trial)
        except LostProcessError:  # not the trial's fault: it is given back, and this worker ends
            raise
        except (Exception, SystemExit) as error:
            self._fail(trial, trials.in_one_line(error))
        else:
            self._finish(trial, result, time.monotonic() - started)
        gc.collect()  # the frames of a failed job hold its tensors

    def _finish(self, trial: Trial, result: dict[str, Any], seconds: float) -> None:
        """Record the job's measures. seconds: duration of the job."""
        excesses = result.pop("excess")
        for name, excess in excesses.items():
            trial.set_constraint(name, excess)
        for name, value in result.items():
            trial.set_user_attr(name, value)
        if "runs" not in result:  # over budget: nothing was trained
            budgets = {name: result[name] - excess for name, excess in excesses.items()}
            self.rejections.cheapest = probes.cheapest(trial.params, result, budgets, self.rejections.cheapest)
            self._exclude_over_budget(trial)
            return
        values = [result[name] for name in self.conf.objectives]
        if not all(map(math.isfinite, values)):
            self._fail(trial, f"not finite: {', '.join(self.conf.objectives)} = {values}")
            return
        trial.set_user_attr("seconds", seconds)
        internals.tell(self.study, trial, values, TrialState.COMPLETE)
        self._reset_counters()
        self._report(trial, ", ".join(f"{name} {with_unit(name, result[name])}" for name in self.conf.objectives))

    def _fail(self, trial: Trial, reason: str) -> None:
        """Record the failure. Raises ConfigError after `max_failures` in a row."""
        trial.set_user_attr("reason", reason)
        internals.tell(self.study, trial, None, TrialState.FAIL)
        self.rejections.reset()
        self._report(trial, f"failed: {reason}")
        self.failed_in_row += 1
        if self.failed_in_row >= self.conf.max_failures:
            raise ConfigError(
                f"study {self.study.study_name}: {plural(self.failed_in_row, 'trial')} failed in a row, the last one: "
                f"{reason}\n"
                "the same command resumes the study; hydra.sweeper.max_failures=N allows more failures"
            )

    def _reset_counters(self) -> None:
        self.failed_in_row = 0
        self.rejections.reset()

    def _report(self, trial: Trial, outcome: str) -> None:
        """Print a line: the trial's parameters and outcome, and how far the study is."""
        all_trials = self.study.get_trials(deepcopy=False)
        finished = [frozen for frozen in trials.counted(all_trials) if frozen.state.is_finished()]
        line = (
            f"trial {trial.number} ({len(finished)} of {self.conf.n_trials}): {probes.words(trial.params)}: {outcome}"
        )
        members = len(front.members(self.study))
        left = trials.seconds_left(all_trials, self.conf.n_trials, self.name)
        self.terminal.say(f"{line}; front of {members}" + (f"; about {duration(left)} left" if left else ""))
