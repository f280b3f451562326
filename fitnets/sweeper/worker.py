"""A worker of a study: asks for parameters, launches a job with them, tells what came of it; and takes the place of
workers that died."""

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

from fitnets.composition import loading, overrides
from fitnets.config import Config
from fitnets.console.quantities import plural
from fitnets.console.terminal import Terminal, measure
from fitnets.console.terminal import seconds as in_words
from fitnets.errors import BudgetError, ConfigError, PrunedError
from fitnets.store import layout
from fitnets.sweeper import front, job, probes, sampling, storage, trials
from fitnets.sweeper.composer import Composer
from fitnets.sweeper.storage import Direction

_POLL_S = 1.0
_STILLBORN_S = 60.0
"""a running trial of which nobody says for so long that it is theirs has lost its worker"""
_SEEDS = 10_000
"""between those of two workers"""
_REPEATED_TRIALS = 10
"""after so many proposals in a row of what was tried already, an unseen point is drawn"""
_FRUITLESS_TRIALS = 1000
_TOLD_OVER, _TOLD_AGAIN = 20, 100
"""after so many proposals in a row over budget the cheapest is said, and again after so many more"""


class Worker:
    """One process. `check` tries what the study is made of; `work` does all; `launch` runs a job.

    composer: composes jobs that are not begun
    has_budgets: whether jobs have bounds on their costs"""

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
        self.failures = self.repeated = self.fruitless = self.over_budget = 0
        self.cheapest: probes.Cheapest | None = None
        self.unborn: dict[int, float] = {}
        self.newborn: int | None = None

    def check(self, directions: list[Direction]) -> None:
        """Try search space, budgets, sampler and pruner. Raises ConfigError for what would fail in every trial."""
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
    def place(self) -> Path:
        """Claimed by the living worker, so that others know."""
        return self.directory / "workers" / self.name.replace(":", "-")

    def work(self) -> None:
        """Run trials until the study is complete, then wait for those of other workers, and take over from workers that
        die."""
        gc.freeze()  # what was imported need not be looked through after every trial
        while True:
            self._take_over()
            known = self.study.get_trials(deepcopy=False)
            counted = trials.counted(known)
            unfinished = [trial for trial in counted if not trial.state.is_finished()]
            is_waiting = any(trial.state == TrialState.WAITING for trial in unfinished)
            has_room = len(counted) < self.conf.n_trials and not self._is_exhausted(known)
            if is_waiting or has_room:
                self._one(known)
            elif unfinished:
                time.sleep(_POLL_S)
            else:
                return

    def _is_exhausted(self, known: list[FrozenTrial]) -> bool:
        """Whether every point of the space, or of the sampler's grid, was proposed."""
        if trials.is_exhausted(self.space, known):
            return True
        sampler = self._sampler(proposed=0)
        return isinstance(sampler, optuna.samplers.GridSampler) and sampler.is_exhausted(self.study)

    # --- those who died ---

    def _take_over(self) -> None:
        """Queue the trials of dead workers once more, and those that were given up for want of room."""
        storage.fail_silent_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trials.is_unborn(trial):
                if self._unborn_s(trial) > _STILLBORN_S:
                    self._tell_dead(trial, closed="stillborn")
            elif trials.is_left(trial, self.name):
                self._tell_dead(trial)
        known = self.study.get_trials(deepcopy=False)
        for trial in trials.to_retry(known):
            told = {"retry_of": trial.number, "deaths": trials.deaths(trial)}
            self.study.enqueue_trial(trial.params, user_attrs=told)
            self.terminal.say(f"trial {trial.number} was left by its worker: it is tried once more")
        room = self.conf.n_trials - len(trials.counted(known))
        for trial in trials.given_up(known)[: max(0, room)]:
            self.study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})

    def _unborn_s(self, trial: FrozenTrial) -> float:
        """For how many seconds this worker has seen the trial without one: clocks of other hosts may be wrong."""
        return time.monotonic() - self.unborn.setdefault(trial.number, time.monotonic())

    def _tell_dead(self, trial: FrozenTrial, closed: str | None = None) -> None:
        with suppress(ValueError, UpdateFinishedTrialError):  # another worker was first
            if closed:
                Trial(self.study, trial._trial_id).set_user_attr("closed", closed)
            self.study.tell(trial.number, state=TrialState.FAIL)

    # --- one trial ---

    def _one(self, known: list[FrozenTrial]) -> None:
        self.study.sampler = self._sampler(proposed=len(known))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Heartbeat of storage")  # sign_of_life sees to it
            trial = self._asked()
        try:
            trial.set_user_attr("place", str(self.place))
            trial.set_user_attr("worker", self.name)
            self._decide(trial)
        except UpdateFinishedTrialError:
            self.terminal.say(f"trial {trial.number} was given to another worker meanwhile")
        except BaseException:
            with suppress(Exception):  # so that the next worker need not find out that this one left
                trial.set_user_attr("stopped", True)
                self._tell(trial, TrialState.FAIL)
            raise

    def _asked(self) -> Trial:
        """Ask the study for a trial. If its sampler fails, the trial that it was to fill is closed."""
        sampler = self.study.sampler
        before_trial = sampler.before_trial
        self.newborn = None

        def noted(study: optuna.Study, trial: FrozenTrial) -> None:
            self.newborn = trial.number
            before_trial(study, trial)

        sampler.before_trial = noted  # type: ignore[method-assign]
        try:
            return self.study.ask(self.space)
        except BaseException as error:
            if self.newborn is not None:
                (trial,) = (known for known in self.study.get_trials(deepcopy=False) if known.number == self.newborn)
                with suppress(Exception):
                    self._tell_dead(trial, closed="stillborn")
            if not isinstance(error, Exception) or isinstance(error, StorageInternalError | SQLAlchemyError):
                raise
            raise ConfigError(
                f"hydra.sweeper.sampler: it proposes nothing ({trials.in_one_line(error)}): give another one"
            ) from error

    def _decide(self, trial: Trial) -> None:
        """Run the trial, unless it is the repetition of an earlier one, or one too many."""
        known = self._settled(trial.number)
        (asked,) = (frozen for frozen in known if frozen.number == trial.number)
        same = trials.same_before(asked, known)
        if same is not None:
            self._close_duplicate(trial, same)
        elif trials.is_surplus(trial.number, known, self.conf.n_trials):
            self._close(trial, "surplus", TrialState.FAIL)
        else:
            self._run(trial)

    def _settled(self, number: int) -> list[FrozenTrial]:
        """All trials, once the parameters of those before this one are known. They are read once more then: a data base
        is read table by table, and may show that a trial has its worker with the parameters of a moment before."""
        while True:
            known = self.study.get_trials(deepcopy=False)
            unborn = [trial for trial in known if trial.number < number and trials.is_unborn(trial)]
            if all(self._unborn_s(trial) > _STILLBORN_S for trial in unborn):
                return self.study.get_trials(deepcopy=False)
            time.sleep(_POLL_S / 10)

    def _tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> None:
        try:
            self.study.tell(trial, values, state)
        except ValueError as error:
            if "Cannot tell a" in str(error):
                raise UpdateFinishedTrialError(str(error)) from error
            raise
        except RuntimeError as error:  # told; and BruteForceSampler wants to end a Study.optimize that there is not
            if "Study.stop" not in str(error):
                raise

    def _sampler(self, *, proposed: int) -> optuna.samplers.BaseSampler:
        """With a seed of its own for every trial: a fixed one would propose the first trials again after a restart."""
        shift = proposed + _SEEDS * self._rank()
        seed = self.conf.seed + shift
        if self.repeated >= _REPEATED_TRIALS:
            is_finite = trials.size(self.space) is not None
            return optuna.samplers.BruteForceSampler(seed) if is_finite else optuna.samplers.RandomSampler(seed)
        if self.conf.sampler is None and not self.has_budgets:
            return optuna.samplers.TPESampler(seed=seed, multivariate=True)
        if self.conf.sampler is None:
            return sampling.WithinBudgets(seed, self._is_within_budgets)
        return sampling.sampler(self.conf.sampler, shift)

    def _is_within_budgets(self, params: dict[str, Any]) -> bool:
        """Whether a job would train with these parameters; True where it has to find out itself."""
        try:
            return not job.over_budget(self._configured(params))
        except BudgetError:
            return False
        except ConfigError:
            return True

    def _rank(self) -> int:
        """0, 1, ... among the workers that are there: those that begin together are not to propose the same."""
        mine = layout.lock_file(self.place).name
        return sum(lock.name < mine for lock in self.place.parent.glob(".*.lock"))

    def _close_duplicate(self, trial: Trial, same: FrozenTrial) -> None:
        """What is known of the first is told again, so that the sampler learns of the repetition."""
        self.repeated += 1
        trial.set_user_attr("duplicate_of", same.number)
        for name, excess in same.constraints.items():
            trial.set_constraint(name, excess)
        state = same.state if same.state in (TrialState.COMPLETE, TrialState.PRUNED) else TrialState.FAIL
        self._close(trial, "duplicate", state, same.values if state == TrialState.COMPLETE else None)

    def _close(self, trial: Trial, reason: str, state: TrialState, values: Sequence[float] | None = None) -> None:
        trial.set_user_attr("closed", reason)
        self._tell(trial, state, values)
        self.fruitless += 1
        if self.fruitless > _FRUITLESS_TRIALS:
            raise ConfigError(
                f"study {self.study.study_name}: the last {_FRUITLESS_TRIALS} proposals were over budget or repeated"
                f"{self._cheapest_in_words()}: {probes.LARGER}"
            )

    def _close_over_budget(self, trial: Trial) -> None:
        self.over_budget += 1
        if self.over_budget >= _TOLD_OVER and (self.over_budget - _TOLD_OVER) % _TOLD_AGAIN == 0:
            self.terminal.say(
                f"the last {self.over_budget} proposals were over budget{self._cheapest_in_words()}; if none can be "
                f"cheaper, {probes.LARGER}"
            )
        self._close(trial, "infeasible", TrialState.PRUNED)

    def _cheapest_in_words(self) -> str:
        return "" if self.cheapest is None else f"; the cheapest {self.cheapest.words}"

    def launch(self, number: int, params: dict[str, Any], *more: str) -> dict[str, Any]:
        """What the job with these parameters gives; raises what it raises."""
        (done,) = self.launcher.launch([[*self._overrides(params), *more]], initial_job_idx=number)
        if done.status == JobStatus.FAILED:
            raise done._return_value  # the public property prints a line first
        return dict(done.return_value)

    def _overrides(self, params: dict[str, Any]) -> list[str]:
        return [*self.fixed, *(overrides.of_value(name, value) for name, value in params.items())]

    def _run(self, trial: Trial) -> None:
        self.repeated = 0
        started = time.monotonic()
        try:
            with storage.sign_of_life(self.study, trial):
                result = self.launch(trial.number, trial.params)
        except PrunedError as error:
            self._tell(trial, TrialState.PRUNED)
            self.failures = self.fruitless = self.over_budget = 0
            self._say(trial, str(error))
        except BudgetError:
            self._close_over_budget(trial)
        except (Exception, SystemExit) as error:
            self._fail(trial, trials.in_one_line(error))
        else:
            self._finish(trial, result, time.monotonic() - started)
        gc.collect()  # the frames of a failed job hold its tensors

    def _finish(self, trial: Trial, result: dict[str, Any], seconds: float) -> None:
        excesses = result.pop("excess")
        for name, excess in excesses.items():
            trial.set_constraint(name, excess)
        for name, value in result.items():
            trial.set_user_attr(name, value)
        if "runs" not in result:
            budgets = {name: result[name] - excess for name, excess in excesses.items()}
            self.cheapest = probes.cheapest(trial.params, result, budgets, self.cheapest)
            self._close_over_budget(trial)
            return
        values = [result[name] for name in self.conf.objectives]
        if not all(map(math.isfinite, values)):
            self._fail(trial, f"not finite: {', '.join(self.conf.objectives)} = {values}")
            return
        trial.set_user_attr("seconds", seconds)
        self._tell(trial, TrialState.COMPLETE, values)
        self.failures = self.fruitless = self.over_budget = 0
        self._say(trial, ", ".join(f"{name} {measure(name, result[name])}" for name in self.conf.objectives))

    def _fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self._tell(trial, TrialState.FAIL)
        self.fruitless = self.over_budget = 0
        self._say(trial, f"failed: {reason}")
        self.failures += 1
        if self.failures >= self.conf.max_failures:
            raise ConfigError(
                f"study {self.study.study_name}: {plural(self.failures, 'trial')} failed in a row, the last one: "
                f"{reason}\n"
                "the same command goes on; hydra.sweeper.max_failures=... allows more"
            )

    def _say(self, trial: Trial, outcome: str) -> None:
        """A line for the trial: what came of it, and how far the study is."""
        known = self.study.get_trials(deepcopy=False)
        finished = [frozen for frozen in trials.counted(known) if frozen.state.is_finished()]
        line = (
            f"trial {trial.number} ({len(finished)} of {self.conf.n_trials}): {probes.words(trial.params)}: {outcome}"
        )
        members = len(front.members(self.study))
        left = trials.seconds_left(known, self.conf.n_trials, self.name)
        self.terminal.say(f"{line}; front of {members}" + (f"; about {in_words(left)} left" if left else ""))
