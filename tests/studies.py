"""Helpers that the tests of sweeps share: the study that they run, and readers for what it leaves behind."""

import subprocess
import sys
from pathlib import Path

import optuna
from conftest import ROOT, TINY
from sqlalchemy.pool import NullPool

from fitnets.store import earlier_runs

BASE = [word for word in TINY if not word.startswith("student")]
STUDY = ("-m", "+sweeps=depth_width", *BASE, "engine.threads=1", "sweep.budgets.relative_multiplications=40")
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


def begin(store: Path, log: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a worker as a separate process, whose output is appended to the log."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-u", ROOT / "run.py", *words, f"store={store}"],
            cwd=store.parent, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
