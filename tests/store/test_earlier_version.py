"""A small store that an earlier version wrote: its runs are found, listed, evaluated, exported and reported.

`tests/store/earlier_version` was written by the version before the modules moved into rooms. It holds two runs, their
first stages, their teacher and a study of both, without images and cached teacher outputs. The commands are those of
that version."""

import json
import shutil
from pathlib import Path

import pytest

from support.places import ROOT

STORED = ROOT / "tests" / "store" / "earlier_version"
RUN = "0fcd4adb8caa7704"
CONVS = "[{units: 8, kernel: 3, pad: 1, pool: 2}, {units: 8, kernel: 3, pad: 1, pool: 2}]"
COMMON = (
    "tracker=none",
    f"teacher.convs={CONVS}",
    "dataset.validation=1000",
    "schedule.teacher.epochs=1",
    "schedule.hint.epochs=1",
    "schedule.student.epochs=1",
    "engine.threads=2",
)
STUDENT = ("student=thin", "student.depth=3", "student.width=4")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A copy, which the `command` fixture uses as its store."""
    shutil.copytree(STORED, tmp_path / "store")
    return tmp_path / "store"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_command_finds_the_run(command, store):
    before = files(store / "run")
    finished = command(*COMMON, *STUDENT)
    assert finished.code == 0, finished.err
    assert files(store / "run") == before
    assert "epoch" not in finished.out


def test_another_method_finds_the_teacher(command, store):
    before = files(store / "teacher")
    finished = command(*COMMON, *STUDENT, "method=kd")
    assert finished.code == 0, finished.err
    assert files(store / "teacher") == before
    assert len(list((store / "run").iterdir())) == 3


def test_the_same_study_is_complete(command, store):
    words = ("-m", "+sweeps=depth_width", *COMMON, "hydra.sweeper.n_trials=2")
    space = 'hydra.sweeper.params={student.depth: "choice(3)", student.width: "choice(4,5)"}'
    before = files(store / "run")
    finished = command(*words, space, "sweep.budgets.relative_multiplications=2")
    assert finished.code == 0, finished.err
    assert "front of 1 among 2 trials" in finished.out
    assert files(store / "run") == before


def test_it_is_listed(fitnets, store):
    rows = json.loads(fitnets("runs", store, "--json").out)
    assert {Path(row["directory"]).name for row in rows} == {RUN, "f9e10c5361aeebf4"}
    assert {row["status"] for row in rows} == {"finished"}


def test_it_is_evaluated_as_it_was(fitnets, store):
    finished = fitnets("eval", store / "run" / RUN, "--split", "test", "--json")
    assert finished.code == 0, finished.err
    result = json.loads((store / "run" / RUN / "result.json").read_text())
    expected = result["student"]["test_accuracy"]
    assert json.loads(finished.out)["accuracy"] == pytest.approx(expected, abs=2 / 360)  # other CPUs round otherwise


def test_it_is_exported(fitnets, store):
    finished = fitnets("export", store / "run" / RUN)
    assert finished.code == 0, finished.err
    assert (store / "run" / RUN / "export" / "student.onnx").exists()


def test_it_is_reported(fitnets, store):
    finished = fitnets("report", store)
    assert finished.code == 0, finished.err
    assert RUN in (store / "report" / "report.html").read_text()


def test_nothing_of_it_is_unneeded(fitnets, store):
    before = files(store)
    assert fitnets("clean", store, "--yes").code == 0
    assert files(store) == before
