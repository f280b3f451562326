"""Whole runs: what an epoch takes beyond its steps, and what a process takes beyond its epochs."""

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
from fitnets.bench.steps import ours
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
"""measured beside each epoch"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """Epochs of a stage. epoch_s: median, without its validation; steps_s: as many steps on a batch that is ready, in
    turns with the epochs; ratio: of the two; images_per_s: of the epoch."""

    student: str
    stage: str
    precision: str
    epochs: int
    epoch_s: float
    steps_s: float
    ratio: float
    images_per_s: float


def epochs(config: Config) -> list[Epochs]:
    """Of the student's stages, through `experiment.run`: data, augmentation, log and tracker included; the teacher's
    answers are looked up in tables that are there. The teacher is trained for one step."""
    schedule = config.schedule
    quick = replace(
        config, schedule=replace(schedule, teacher=replace(schedule.teacher, max_steps=1), retrain_teacher=False)
    )
    with tempfile.TemporaryDirectory() as root:
        # The first run makes teacher and tables; those of the second are there.
        warm = replace(quick, store=root, test=False)
        quiet = Terminal(quiet=True)
        pipeline.run(_with_epochs(warm, 1), terminal=quiet)
        plan = prepare(warm, quiet)
        _open_tables(plan, quiet)
        turns = _Turns(plan)
        pipeline.run(warm, on_epoch=turns, terminal=quiet)
        return turns.found()


def _open_tables(plan: Plan, terminal: Terminal) -> None:
    """Have all tables that the stages will look up. Raises ConfigError if they compute the teacher's answers."""
    plan.load_teacher()
    for stage in plan.stages:
        need = plan.cache_plan(stage, plan.data)
        if need is None:
            continue
        if need.cached != need.layers:
            raise ConfigError(f"--epochs: the {stage.name} stage computes the teacher's answers ({need.reason})")
        answers = plan.teacher_cache(terminal).outputs(need, plan.data)
        for view in range(need.tables):
            answers.open(view)


def _with_epochs(config: Config, count: int) -> Config:
    schedule = config.schedule
    stages = {name: replace(getattr(schedule, name), epochs=count) for name in ("hint", "student")}
    return replace(config, schedule=replace(schedule, **stages))


class _Turns:
    """Is told of every epoch, and then makes a few steps of the same stage by itself."""

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
            self.steps[stage.name] = ours(stage, [batch])
            self.count[stage.name] = len(plan.data.train) // len(batch), len(batch)

    def __call__(self, row: dict[str, Any]) -> None:
        stage = row["stage"]
        if stage not in self.steps:
            return
        took = latency.timed(self.steps[stage], self.plan.device, repeats=_STEPS)
        self.steps_s.setdefault(stage, []).append(statistics.median(took))
        timing = row["timing"]
        self.epochs_s.setdefault(stage, []).append(timing["seconds"] - timing["validation_seconds"])

    def found(self) -> list[Epochs]:
        return [self._of(stage) for stage in self.epochs_s]

    def _of(self, stage: str) -> Epochs:
        steps, batch = self.count[stage]
        own, theirs = self.epochs_s[stage], [steps * took for took in self.steps_s[stage]]
        return Epochs(
            student=self.plan.config.student.name,
            stage=stage,
            precision=self.plan.precision,
            epochs=len(own),
            epoch_s=statistics.median(own),
            steps_s=statistics.median(theirs),
            ratio=statistics.median(mine / other for mine, other in zip(own, theirs, strict=True)),
            images_per_s=steps * batch / statistics.median(own),
        )


# --- start-up ---

_TRIALS = 4
_SMALL = ("tracker=none", "test=false", *(f"schedule.{stage}.epochs=1" for stage in ("teacher", "hint", "student")))


def startup(rounds: int) -> dict[str, float]:
    """Seconds, medians over the rounds: of `--help` and `--cfg job`; from the start of a run on digits, its teacher
    there, to its training; and what each run of a sweep takes beyond its epochs (measuring and files included)."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        words = [*_SMALL, overrides.literal("store", root)]
        _call(words)
        for number in range(1, rounds + 1):
            found.setdefault("--help", []).append(_call(["--help"]))
            found.setdefault("--cfg job", []).append(_call(["--cfg", "job"]))
            found.setdefault("start to training", []).append(_to_training([*words, f"seed={number}"], Path(root)))
            seeds = range(100 * number, 100 * number + _TRIALS)
            sweep_s = _call(["-m", *words, f"seed={','.join(map(str, seeds))}"])
            beyond_s = sweep_s - found["start to training"][-1] - _stages_s(Path(root), seeds)
            found.setdefault("a run of a sweep, beyond its epochs", []).append(beyond_s / _TRIALS)
    return {name: statistics.median(took) for name, took in found.items()}


def _call(words: Sequence[str]) -> float:
    """Seconds that the command takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, paths.RUN, *words], capture_output=True, check=True)
    return time.perf_counter() - started


def _to_training(words: Sequence[str], root: Path) -> float:
    """Until the run has a log: it begins with the epochs of the teacher that was found."""
    before, started = set(root.glob("run/*/metrics.jsonl")), time.perf_counter()
    with subprocess.Popen([sys.executable, paths.RUN, *words], stdout=subprocess.DEVNULL) as process:
        while set(root.glob("run/*/metrics.jsonl")) == before and process.poll() is None:
            time.sleep(0.005)
        return time.perf_counter() - started


def _stages_s(root: Path, seeds: Collection[int]) -> float:
    """Of the student's stages, in the runs with these seeds."""
    results = map(files.read_json, root.glob("run/*/result.json"))
    timings = [result["timing"] for result in results if result["seeds"]["student"] in seeds]
    return float(sum(timing["stage_seconds"][stage] for timing in timings for stage in ("hint", "student")))
