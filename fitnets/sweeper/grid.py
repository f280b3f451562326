"""Hydra's basic sweeper, which runs every combination, with a line before each job and a table of all jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fitnets.composition import hydra_internals
from fitnets.errors import DivergedError, UserError, without_passwords

Overrides = Sequence[str]


@dataclass
class GridConf:
    """Keys of `hydra.sweeper`."""

    _target_: str = "fitnets.sweeper.grid.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


@dataclass
class Job:
    """One job of a grid.

    number: position in the grid, from 0
    overrides: the overrides that not all jobs share
    done: Hydra's record of the finished job; None until it ends
    """

    number: int
    overrides: Overrides
    done: JobReturn | None = field(default=None)


class GridSweeper(hydra_internals.BasicSweeper):
    """Runs the jobs of `key=a,b other=range(3)`, one after the other unless the launcher runs them in parallel."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.launcher is not None
        self.launcher = self.recorder = _RecordingLauncher(self.launcher)

    def sweep(self, arguments: list[str]) -> Any:
        try:
            returns = super().sweep(arguments)
        finally:
            self.recorder.show_table()
        if failed := self.recorder.failed():
            raise UserError(f"{failed} of {len(self.recorder.jobs)} jobs failed")
        return returns

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        assert self.overrides is not None
        self.recorder.announce([overrides for batch in self.overrides for overrides in batch])
        return super().get_job_batch()


class _RecordingLauncher(Launcher):
    """Runs jobs with another launcher and records their outcomes."""

    def __init__(self, launcher: Launcher):
        from fitnets.console.terminal import Terminal

        self.launcher = launcher
        self.jobs: list[Job] = []
        self.terminal = Terminal()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def announce(self, jobs: Sequence[Overrides]) -> None:
        """Record the overrides of all jobs. Only the first call counts."""
        if self.jobs:
            return
        shared = set(jobs[0]).intersection(*jobs) if len(jobs) > 1 else set()
        for number, overrides in enumerate(jobs):
            self.jobs.append(Job(number, [without_passwords(word) for word in overrides if word not in shared]))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs. In this process they run one by one, so that Ctrl-C keeps the outcomes of ended jobs."""
        size = 1 if hydra_internals.runs_jobs_in_this_process(self.launcher) else len(job_overrides)
        returns: list[JobReturn] = []
        for start in range(0, len(job_overrides), size):
            first = initial_job_idx + start
            for job in self.jobs[first : first + size]:
                self.terminal.say(f"job {job.number} ({job.number + 1} of {len(self.jobs)}): {' '.join(job.overrides)}")
            ended = self.launcher.launch(job_overrides[start : start + size], initial_job_idx=first)
            for job, done in zip(self.jobs[first : first + size], ended, strict=True):
                job.done = done
            returns += [done for done in ended if not _is_reported(done)]
        return returns

    def failed(self) -> int:
        return sum(job.done is not None and job.done.status == JobStatus.FAILED for job in self.jobs)

    def show_table(self) -> None:
        """Show the table of all jobs, if any has ended."""
        if any(job.done is not None for job in self.jobs):
            title = f"{len(self.jobs)} jobs" + (f", {self.failed()} failed" if self.failed() else "")
            self.terminal.table(title, _HEADER, [_row(job) for job in self.jobs])


_HEADER = ("job", "overrides", "status", "validation", "test", "run")


def _is_reported(done: JobReturn) -> bool:
    """Return whether the job failed with a message for the user, which was shown at once."""
    return done.status == JobStatus.FAILED and isinstance(hydra_internals.outcome(done), UserError)


def _row(job: Job) -> list[str]:
    first = [str(job.number), " ".join(job.overrides)]
    if job.done is None:
        return [*first, "unfinished", "-", "-", "-"]
    result = hydra_internals.outcome(job.done)
    if job.done.status == JobStatus.FAILED:
        return [*first, "diverged" if isinstance(result, DivergedError) else "failed", "-", "-", "-"]
    if not isinstance(result, dict):
        return [*first, "finished", "-", "-", "-"]
    accuracies = [_percent(result.get(name)) for name in ("accuracy", "test_accuracy")]
    return [*first, "finished", *accuracies, " ".join(result.get("runs", [])) or "-"]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"
