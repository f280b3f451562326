"""What the tests of sweeps share: the study that they run, and what it left."""

import subprocess
import sys
from pathlib import Path

import optuna
from conftest import ROOT, TINY
from sqlalchemy.pool import NullPool

from fitnets.store import earlier_runs

BASE = [word for word in TINY if not word.startswith("student")]
STUDY = ("-m", "+sweeps=depth_width", *BASE, "engine.threads=1", "sweep.budgets.relative_multiplications=40")
DIED_TWICE = "its worker died, and once more when it was tried again"


def opened(path: Path | str, name: str = "depth_width-digits") -> optuna.Study:
    if "://" in str(path):
        backend = optuna.storages.RDBStorage(str(path), {"poolclass": NullPool})  # leaves no connection open
    else:
        backend = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    return optuna.load_study(study_name=name, storage=backend)


def ends(study: optuna.Study) -> list[str]:
    """Of every trial: its state, and why it does not count."""
    return [" ".join(filter(None, (t.state.name, t.user_attrs.get("closed")))) for t in study.trials]


def params_of(run: Path) -> dict[str, int]:
    student = earlier_runs.read_config(run / "config.yaml").student
    return {"student.depth": student.depth, "student.width": student.width}


def begin(store: Path, log: Path, *words: str) -> subprocess.Popen[bytes]:
    """A worker as a process of its own; its output is added to the log."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-u", ROOT / "run.py", *words, f"store={store}"],
            cwd=store.parent, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
