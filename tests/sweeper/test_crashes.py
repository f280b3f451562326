"""A worker that is killed at any write of its study: no trial is lost, and none is made twice."""

import shutil
import sys
from pathlib import Path

import pytest

import run
from fitnets.composition import entry_point
from fitnets.store import locks
from fitnets.sweeper import journal, orphans, trials
from support import crashes
from support.processes import in_fork
from support.studies import STUDY, opened, without_training

N_TRIALS = 2
WORDS = [*STUDY, f"hydra.sweeper.n_trials={N_TRIALS}", "hydra.sweeper.objectives=[accuracy]", "student.depth=3"]


def sweep(store: Path) -> None:
    """Run the study without training. The file `made` beside the study has a line for each run that it asked for."""

    def noted(config, **_):
        with (store / "made").open("a") as file:
            print(config.student.width, file=file)
        return without_training(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fitnets.experiment.pipeline.run", noted)
        patch.setattr(sys, "argv", ["run.py", *WORDS, f"store={store}"])
        assert entry_point.command_line(run.main) == 0


def sweep_recorded(store: Path, states: Path) -> None:
    crashes.record(store, states, "sweeps")
    sweep(store)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("crashes")
    assert in_fork(sweep_recorded, root / "store", root / "states", log=root / "log") == 0, (root / "log").read_text()
    return sorted(path for path in (root / "states").iterdir() if path.suffix != ".torn")


def has_lock(state: Path) -> bool:
    return any(state.glob("sweeps/*/study.log.lock*"))


@pytest.mark.filterwarnings("ignore:The value of `grace_period`")
@pytest.mark.parametrize(
    "chosen", [slice(0, None, 3), *(pytest.param(slice(part, None, 3), marks=pytest.mark.soak) for part in (1, 2))]
)
def test_no_trial_is_lost_or_made_twice(states, monkeypatch, tmp_path, chosen):
    check([state for state in states if not has_lock(state)][chosen], monkeypatch, tmp_path)


@pytest.mark.filterwarnings("ignore:The value of `grace_period`")
def test_the_lock_of_the_journal_may_be_left(states, monkeypatch, tmp_path):
    """Each write of the journal leaves three states with its lock. Every tenth of them is tried."""
    check([state for state in states if has_lock(state)][::10], monkeypatch, tmp_path)


def check(chosen: list[Path], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Continue the study from each of the states: no trial may be lost, and none made twice."""
    assert len(chosen) > 10
    monkeypatch.setattr(locks, "_UNSIGNED_S", 0.05)
    monkeypatch.setattr(journal, "LOCK_GRACE_S", 0.1)
    monkeypatch.setattr(orphans, "UNCLAIMED_S", 0.05)
    for state in chosen:
        shutil.copytree(state, store := folder / "store", symlinks=True)
        sweep(store)
        study = opened(store / "sweeps" / "depth_width-digits" / "study.log")
        widths = [trial.params["student.width"] for trial in trials.counted(study.trials)]
        assert all(trial.state.is_finished() for trial in study.trials), state
        assert len(set(widths)) == len(widths) == N_TRIALS, state
        assert {int(line) for line in (store / "made").read_text().splitlines()} == set(widths), state
        shutil.rmtree(store)
