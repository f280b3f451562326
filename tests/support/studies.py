"""Helpers that the tests of sweeps share: the study that they run, and readers for what it leaves behind."""

from pathlib import Path
from typing import Any

import optuna
from sqlalchemy.pool import NullPool

from fitnets.config import Config
from fitnets.models import costs
from fitnets.store import earlier_runs
from support.places import ROOT
from support.processes import Started
from support.runs import TINY

BASE = [word for word in TINY if not word.startswith("student")]
STUDY = ("-m", "+sweeps=depth_width", *BASE, "engine.threads=1", "sweep.budgets.relative_multiplications=40")
SMALL_SPACE = ("student.depth=3,4,5", "student.width=range(4,9)")
DIED_TWICE = "its worker died, and so did the worker that retried it"


def opened(address: Path | str, name: str = "depth_width-digits") -> optuna.Study:
    if "://" in str(address):
        backend = optuna.storages.RDBStorage(str(address), {"poolclass": NullPool})  # closes every connection
    else:
        backend = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(address)))
    return optuna.load_study(study_name=name, storage=backend)


def ends(study: optuna.Study) -> list[str]:
    """Each trial's state, and after it the reason why the trial does not count."""
    return [" ".join(filter(None, (t.state.name, t.user_attrs.get("closed")))) for t in study.trials]


def params_of(run: Path) -> dict[str, int]:
    student = earlier_runs.read_config(run / "config.yaml").student
    return {"student.depth": student.depth, "student.width": student.width}


def without_training(config: Config) -> dict[str, Any]:
    """Return a result in which deeper and wider students are a little better."""
    sides = costs.costs_by_network(config)
    quality = 1 - 1 / (config.student.depth * config.student.width)
    student = {f"valid_{name}": quality for name in ("accuracy", "error", "loss", "calibration_error", "agreement")}
    latency = {"student": {"batch_1_p50_ms": 1.0, "batch_128_p50_ms": 1.0}}
    return {
        "teacher": sides["teacher"],
        "student": student | sides["student"] | {"weights_bytes": 1},
        "timing": {"latency": latency},
        "hashes": {"run": f"{config.student.depth}-{config.student.width}"},
    }


def begin(store: Path, log: Path, *words: str, script: Path = ROOT / "run.py") -> Started:
    """Start a worker as a process of its own, whose output is appended to the log."""
    log.touch()
    return Started([str(script), *words, f"store={store}"], store.parent, log)
