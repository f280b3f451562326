"""Hydra's own sweeper, which runs every combination, with a line before each job and a table of all jobs at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fitnets.composition.hydra_internals import BasicLauncher, BasicSweeper, outcome
from fitnets.errors import DivergedError, UserError, without_passwords

Words = Sequence[str]


@dataclass
class GridConf:
    """Keys of `hydra.sweeper`."""

    _target_: str = "fitnets.sweeper.grid.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


@dataclass
class Job:
    """number: of the sweep; words: its overrides that other jobs do not share; done: None before its end"""

    number: int
    words: Words
    done: JobReturn | None = field(default=None)


class GridSweeper(BasicSweeper):
    """The jobs of `key=a,b other=range(3)`, one after the other or as the launcher has them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.launcher is not None
        self.launcher = self.watched = _Watched(self.launcher)

    def sweep(self, arguments: list[str]) -> Any:
        try:
            returns = super().sweep(arguments)
        finally:
            self.watched.conclude()
        if failed := self.watched.failed():
            raise UserError(f"{failed} of {len(self.watched.jobs)} jobs failed")
        return returns

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        assert self.overrides is not None
        self.watched.announce([words for batch in self.overrides for words in batch])
        return super().get_job_batch()


class _Watched(Launcher):
    """A launcher that keeps what became of its jobs."""

    def __init__(self, launcher: Launcher):
        from fitnets.console.terminal import Terminal

        self.launcher = launcher
        self.jobs: list[Job] = []
        self.terminal = Terminal()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def announce(self, jobs: Sequence[Words]) -> None:
        """Take note of all jobs of the sweep."""
        if self.jobs:
            return
        shared = set(jobs[0]).intersection(*jobs) if len(jobs) > 1 else set()
        for number, words in enumerate(jobs):
            self.jobs.append(Job(number, [without_passwords(word) for word in words if word not in shared]))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Jobs of this process begin one by one, so that each has its line and those that ended are known at Ctrl-C."""
        size = 1 if isinstance(self.launcher, BasicLauncher) else len(job_overrides)
        returns: list[JobReturn] = []
        for start in range(0, len(job_overrides), size):
            first = initial_job_idx + start
            for job in self.jobs[first : first + size]:
                self.terminal.say(f"job {job.number} ({job.number + 1} of {len(self.jobs)}): {' '.join(job.words)}")
            ended = self.launcher.launch(job_overrides[start : start + size], initial_job_idx=first)
            for job, done in zip(self.jobs[first : first + size], ended, strict=True):
                job.done = done
            returns += [done for done in ended if not _is_told(done)]
        return returns

    def failed(self) -> int:
        return sum(job.done is not None and job.done.status == JobStatus.FAILED for job in self.jobs)

    def conclude(self) -> None:
        """Show the table of all jobs, if any has ended."""
        if any(job.done is not None for job in self.jobs):
            title = f"{len(self.jobs)} jobs" + (f", {self.failed()} failed" if self.failed() else "")
            self.terminal.table(title, _HEADER, [_row(job) for job in self.jobs])


_HEADER = ("job", "overrides", "status", "validation", "test", "run")


def _is_told(done: JobReturn) -> bool:
    """Whether the job failed with a message, which was shown at once."""
    return done.status == JobStatus.FAILED and isinstance(outcome(done), UserError)


def _row(job: Job) -> list[str]:
    number, words = str(job.number), " ".join(job.words)
    if job.done is None:
        return [number, words, "unfinished", "-", "-", "-"]
    if job.done.status == JobStatus.FAILED:
        error = outcome(job.done)
        return [number, words, "diverged" if isinstance(error, DivergedError) else "failed", "-", "-", "-"]
    found = outcome(job.done)
    if not isinstance(found, dict):
        return [number, words, "finished", "-", "-", "-"]
    accuracies = [_percent(found.get(name)) for name in ("accuracy", "test_accuracy")]
    return [number, words, "finished", *accuracies, " ".join(found.get("runs", [])) or "-"]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"
