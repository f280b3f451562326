"""Runs of a second, and what they leave behind."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from fitnets.composition import loading
from fitnets.experiment import pipeline, run_log
from fitnets.store.files import read_metrics

# A run that takes a second: small networks, one epoch a stage, few images.
TINY = (
    "tracker=none",
    "student=thin",
    "student.depth=3",
    "student.width=4",
    "teacher.convs=[{units: 8, kernel: 3, pad: 1, pool: 2}, {units: 8, kernel: 3, pad: 1, pool: 2}]",
    "dataset.validation_images=1000",
    "schedule.teacher.epochs=1",
    "schedule.hint.epochs=1",
    "schedule.student.epochs=1",
)


class Finished(NamedTuple):
    code: int
    out: str
    err: str


LONG = (*TINY, "schedule.teacher.epochs=60")


def runs(store: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in store.glob("run/*/result.json")}


def without_timing(value):
    if isinstance(value, dict):
        return {key: without_timing(item) for key, item in value.items() if key != "timing"}
    return value


def outcome(store: Path) -> tuple:
    """Everything that must be equal: name, result and metrics without `timing`, and all weights."""
    ((name, result),) = runs(store).items()
    directory = store / "run" / name
    weights = {
        path.relative_to(store).as_posix(): path.read_bytes() for path in sorted(store.glob("[thr]*/*/*.safetensors"))
    }
    rows = [without_timing(row) for row in read_metrics(directory / "metrics.jsonl")]
    return name, without_timing(result), rows, weights


def interrupted(tmp_path, monkeypatch, *words: str) -> list[str]:
    """Interrupt a run in its student's stage, so that it leaves a checkpoint. Returns its overrides."""
    command = [*TINY, f"store={tmp_path / 'store'}", "engine.checkpoint_seconds=0.001", "engine.threads=1", *words]
    steps = []
    real = run_log.EpochObserver.on_step

    def on_step(self):
        real(self)
        steps.append(self)
        if len(steps) == 25:  # 6 of the teacher, 13 of stage 1, 6 of the student
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_log.EpochObserver, "on_step", on_step)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(loading.load(command))
    return command
