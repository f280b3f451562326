"""Times whole runs: the time of an epoch outside its steps, and the time of a process outside its epochs."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fitnets import paths
from fitnets.bench.peers import Step
from fitnets.bench.steps import update_step
from fitnets.composition import overrides
from fitnets.config import Config
from fitnets.console.terminal import Terminal
from fitnets.errors import ConfigError
from fitnets.experiment import pipeline
from fitnets.machine import latency
from fitnets.planning.plan import Plan, prepare
from fitnets.store import files
from fitnets.training.teacher_outputs import FixedOutputs

_STEPS = 10
"""steps that are timed after each epoch"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """The epochs of a stage, compared with its steps alone. Durations are medians over the epochs.

    epochs: number of epochs
    epoch_s: seconds of an epoch without its validation
    steps_s: seconds of as many steps on a batch that is ready, timed in turns with the epochs
    ratio: epoch_s / steps_s
    images_per_s: images per second in an epoch"""

    student: str
    stage: str
    precision: str
    epochs: int
    epoch_s: float
    steps_s: float
    ratio: float
    images_per_s: float


def epochs(config: Config) -> list[Epochs]:
    """Time the epochs of the student's stages in a whole run, with data, augmentation, log and tracker. The teacher is
    trained for one step, and its outputs are read from cache tables that exist already.

    Raises ConfigError if a stage computes the teacher's outputs at every step."""
    schedule = config.schedule
    quick = replace(
        config, schedule=replace(schedule, teacher=replace(schedule.teacher, max_steps=1), retrain_teacher=False)
    )
    with tempfile.TemporaryDirectory() as root:
        timed_config = replace(quick, store=root, test=False)
        quiet = Terminal(quiet=True)
        pipeline.run(_with_epochs(timed_config, 1), terminal=quiet)  # so that the timed run finds teacher and tables
        plan = prepare(timed_config, quiet)
        _make_tables(plan, quiet)
        timer = _EpochTimer(plan)
        pipeline.run(timed_config, on_epoch=timer, terminal=quiet)
        return timer.results()


def _make_tables(plan: Plan, terminal: Terminal) -> None:
    """Make all cache tables that the stages use. Raises ConfigError if a stage does not cache all teacher outputs."""
    plan.load_teacher()
    for stage in plan.stages:
        cache_plan = plan.cache_plan(stage, plan.data)
        if cache_plan is None:
            continue
        if cache_plan.cached != cache_plan.layers:
            raise ConfigError(
                f"--epochs: the {stage.name} stage computes the teacher's outputs at every step ({cache_plan.reason}), "
                "and only stages with cached outputs are timed"
            )
        cached_teacher = plan.teacher_cache(terminal).outputs(cache_plan, plan.data)
        for view in range(cache_plan.tables):
            cached_teacher.open(view)


def _with_epochs(config: Config, count: int) -> Config:
    schedule = config.schedule
    stages = {name: replace(getattr(schedule, name), epochs=count) for name in ("hint", "student")}
    return replace(config, schedule=replace(schedule, **stages))


class _EpochTimer:
    """An epoch callback that times a few steps of the same stage after every epoch."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.steps: dict[str, Step] = {}
        self.count: dict[str, tuple[int, int]] = {}
        self.epochs_s: dict[str, list[float]] = {}
        self.steps_s: dict[str, list[float]] = {}
        for stage in plan.stages:
            batch = plan.data.train.batch(plan.data.train.rows[: stage.settings.batch_size])
            if stage.teacher_outputs is not None:
                stage.teacher_outputs = FixedOutputs(stage.teacher_outputs(batch, stage.teacher_layers))
            self.steps[stage.name] = update_step(stage, [batch])
            self.count[stage.name] = len(plan.data.train) // len(batch), len(batch)

    def __call__(self, row: dict[str, Any]) -> None:
        stage = row["stage"]
        if stage not in self.steps:
            return
        durations_s = latency.timed(self.steps[stage], self.plan.device, repeats=_STEPS)
        self.steps_s.setdefault(stage, []).append(statistics.median(durations_s))
        timing = row["timing"]
        self.epochs_s.setdefault(stage, []).append(timing["seconds"] - timing["validation_seconds"])

    def results(self) -> list[Epochs]:
        return [self._result(stage) for stage in self.epochs_s]

    def _result(self, stage: str) -> Epochs:
        steps, batch = self.count[stage]
        epochs_s, steps_s = self.epochs_s[stage], [steps * step_s for step_s in self.steps_s[stage]]
        return Epochs(
            student=self.plan.config.student.name,
            stage=stage,
            precision=self.plan.precision,
            epochs=len(epochs_s),
            epoch_s=statistics.median(epochs_s),
            steps_s=statistics.median(steps_s),
            ratio=statistics.median(epoch_s / step_s for epoch_s, step_s in zip(epochs_s, steps_s, strict=True)),
            images_per_s=steps * batch / statistics.median(epochs_s),
        )


# --- start-up ---

_TRIALS = 4
_SMALL = ("tracker=none", "test=false", *(f"schedule.{stage}.epochs=1" for stage in ("teacher", "hint", "student")))


def startup(rounds: int) -> dict[str, float]:
    """Time the start-up of runs on digits whose teacher is trained already. Values are seconds, medians over the
    rounds:

    --help, --cfg job: these commands
    start to training: from the start of a run to its training
    a run of a sweep, beyond its epochs: everything but the training, with measurements and files"""
    durations_s: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        small_run = [*_SMALL, overrides.literal("store", root)]
        _command_s(small_run)
        for number in range(1, rounds + 1):
            durations_s.setdefault("--help", []).append(_command_s(["--help"]))
            durations_s.setdefault("--cfg job", []).append(_command_s(["--cfg", "job"]))
            to_training_s = _to_training_s([*small_run, f"seed={number}"], Path(root))
            durations_s.setdefault("start to training", []).append(to_training_s)
            seeds = range(100 * number, 100 * number + _TRIALS)
            sweep_s = _command_s(["-m", *small_run, f"seed={','.join(map(str, seeds))}"])
            beyond_s = sweep_s - to_training_s - _stages_s(Path(root), seeds)
            durations_s.setdefault("a run of a sweep, beyond its epochs", []).append(beyond_s / _TRIALS)
    return {name: statistics.median(values) for name, values in durations_s.items()}


def _command_s(arguments: Sequence[str]) -> float:
    """Seconds that `run.py` takes with these arguments."""
    started = time.perf_counter()
    subprocess.run([sys.executable, paths.RUN, *arguments], capture_output=True, check=True)
    return time.perf_counter() - started


def _to_training_s(arguments: Sequence[str], root: Path) -> float:
    """Seconds until the run has a log, whose first lines are the epochs of the stored teacher."""
    before, started = set(root.glob("run/*/metrics.jsonl")), time.perf_counter()
    with subprocess.Popen([sys.executable, paths.RUN, *arguments], stdout=subprocess.DEVNULL) as process:
        while set(root.glob("run/*/metrics.jsonl")) == before and process.poll() is None:
            time.sleep(0.005)
        return time.perf_counter() - started


def _stages_s(root: Path, seeds: Collection[int]) -> float:
    """Seconds of the student's stages, summed over the runs with these seeds."""
    results = map(files.read_json, root.glob("run/*/result.json"))
    timings = [result["timing"] for result in results if result["seeds"]["student"] in seeds]
    return float(sum(timing["stage_seconds"][stage] for timing in timings for stage in ("hint", "student")))
