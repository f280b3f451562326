"""YAML files of users: former `_target_`s of the sweepers, and questions that build on the shared base."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from fitnets.store.files import read_json
from support.studies import BASE, opened

SMALL = (*BASE, "engine.threads=1", "student=thin", "student.depth=3")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder for --config-dir."""
    folder = tmp_path / "conf"
    folder.mkdir()
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def states(store: Path, name: str) -> list[TrialState]:
    return [trial.state for trial in opened(store / "sweeps" / name / "study.log", name).trials]


class TestFormerTargets:
    """The sweepers once lived in a package `sweeps`. Its names still work in files of users."""

    def test_study_in_a_question_of_the_user(self, command, folder, tmp_path):
        write(
            folder / "sweeps" / "mine.yaml",
            "# @package _global_\n"
            "defaults:\n  - override /hydra/sweeper: study\n"
            "hydra:\n  mode: MULTIRUN\n  sweeper:\n    _target_: sweeps.study.StudySweeper\n    study_name: mine\n"
            "    n_trials: 1\n    params: {student.width: '4,5'}\n",
        )
        finished = command("-m", "--config-dir", str(folder), "+sweeps=mine", *SMALL)
        assert finished.code == 0, finished.err
        assert states(tmp_path / "store", "mine") == [TrialState.COMPLETE]
        assert "study mine: best among 1 trial" in finished.out

    def test_study_over_budget_trains_nothing(self, command, folder, tmp_path):
        """A job checks whether its sweeper is a study. Outside of a study it would fail."""
        write(
            folder / "sweeps" / "mine.yaml",
            "# @package _global_\n"
            "defaults:\n  - override /hydra/sweeper: study\n"
            "hydra:\n  mode: MULTIRUN\n  sweeper:\n    _target_: sweeps.study.StudySweeper\n    study_name: mine\n"
            "    n_trials: 1\n    params: {student.width: '4,40'}\n",
        )
        budget = "+sweep.budgets.relative_parameters=2"
        finished = command("-m", "--config-dir", str(folder), "+sweeps=mine", *SMALL, budget, "seed=3")
        assert finished.code == 0, finished.err
        complete = [state for state in states(tmp_path / "store", "mine") if state == TrialState.COMPLETE]
        assert len(complete) == 1
        assert len(list((tmp_path / "store" / "run").glob("[!.]*"))) == 1

    def test_grid_in_a_sweeper_of_the_user(self, command, folder, tmp_path):
        write(folder / "hydra" / "sweeper" / "mine.yaml", "_target_: sweeps.grid.GridSweeper\nmax_batch_size: null\n")
        finished = command("-m", "--config-dir", str(folder), "hydra/sweeper=mine", *SMALL, "student.width=4,5")
        assert finished.code == 0, finished.err
        assert "2 jobs" in finished.out
        assert len(list((tmp_path / "store" / "run").glob("[!.]*"))) == 2

    def test_grid_in_a_question_of_the_user(self, command, folder):
        write(
            folder / "sweeps" / "mine.yaml",
            "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    _target_: sweeps.grid.GridSweeper\n"
            "    params: {student.width: '4,5'}\n",
        )
        finished = command("-m", "--config-dir", str(folder), "+sweeps=mine", *SMALL, "method=backprop")
        assert finished.code == 0, finished.err
        assert "job 1 (2 of 2): student.width=5" in finished.out


class TestBase:
    def test_question_of_the_user_builds_on_the_base(self, command, folder, tmp_path):
        write(
            folder / "sweeps" / "mine.yaml",
            "# @package _global_\n"
            "defaults:\n  - base/study\n  - _self_\n  - override /student: thin\n"
            "hydra:\n  sweeper:\n    study_name: mine-${dataset.name}\n    n_trials: 1\n"
            "    params: {student.width: '4,5'}\n",
        )
        finished = command("-m", "--config-dir", str(folder), "+sweeps=mine", *BASE, "student.depth=3")
        assert finished.code == 0, finished.err
        (row,) = read_json(tmp_path / "store" / "sweeps" / "mine-digits" / "front.json")["front"]
        assert "test_accuracy" in row

    def test_a_study_needs_no_file(self, command, tmp_path):
        words = ("hydra.sweeper.study_name=typed", "hydra.sweeper.n_trials=1", "student.width=4,5")
        finished = command("-m", "+sweeps/base=study", *SMALL, *words)
        assert finished.code == 0, finished.err
        assert states(tmp_path / "store", "typed") == [TrialState.COMPLETE]

    def test_help_lists_the_base_apart_from_the_questions(self, command, capfd):
        with pytest.raises(SystemExit):
            command("--help")
        groups = dict(line.split(": ", 1) for line in capfd.readouterr().out.splitlines() if ": " in line)
        assert groups["sweeps"].split(", ")[:2] == ["budget_107m", "budget_30m"]
        assert "study" not in groups["sweeps"].split(", ")
        assert groups["sweeps/base"] == "study"
