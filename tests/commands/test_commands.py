"""Tests of the command in environment.json: it repeats the run alone, whatever started the run."""

import json
import shlex
from pathlib import Path

import pytest

from support.places import ROOT
from support.runs import TINY

OWN_STUDENT = "defaults: [thin, _self_]\ndepth: 4\n"


def commands(store: Path) -> dict[str, list[str]]:
    return {
        path.name: json.loads((path / "environment.json").read_text())["command"] for path in (store / "run").iterdir()
    }


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (("seed=7",), 1),
        (("-m", "seed=3,5", "method=backprop"), 2),
        (("-m", "method=backprop", "sweep.seeds=2", "seed=4"), 2),
        (
            (
                "-m",
                "+sweeps=depth_width",
                "student.depth=3,4",
                "student.width=4",
                "sweep.budgets.relative_multiplications=40",
            ),
            2,
        ),
    ],
    ids=["one run", "a grid", "seeds of a job", "a study"],
)
def test_the_stored_command_finds_the_run_again(command, tmp_path, words, runs):
    tiny = [word for word in TINY if not word.startswith(("student.depth", "student.width"))]
    finished = command(*words, *tiny)
    assert finished.code == 0, finished.err
    stored = commands(tmp_path / "store")
    assert len(stored) == runs
    for name, words_of_run in stored.items():
        assert words_of_run[:2] == ["python", "run.py"]
        again = command(*words_of_run[2:])
        assert again.code == 0, again.err
        assert "found, nothing was trained" in again.out
        assert f"files in {tmp_path / 'store' / 'run' / name}" in again.out.replace("\n", " ")


def test_the_folder_of_own_options_is_part_of_the_command(command, tmp_path):
    (tmp_path / "mine dir" / "student").mkdir(parents=True)
    (tmp_path / "mine dir" / "student" / "small.yaml").write_text(OWN_STUDENT)
    words = [word for word in TINY if word not in ("student=thin", "student.depth=3")]
    assert command("--config-dir", str(tmp_path / "mine dir"), "student=small", *words).code == 0
    (words_of_run,) = commands(tmp_path / "store").values()
    assert shlex.join(words_of_run).startswith(f"python run.py --config-dir '{tmp_path}/mine dir' ")
    assert "found, nothing was trained" in command(*words_of_run[2:]).out


def test_test_figures_that_are_added_later_change_the_command(command, tmp_path):
    command(*TINY, "test=false")
    (first,) = commands(tmp_path / "store").values()
    assert "test=false" in first
    assert command(*TINY).code == 0
    (second,) = commands(tmp_path / "store").values()
    assert "test=false" not in second


def test_a_teacher_seed_taken_from_the_student_stays_with_the_run(command, tmp_path):
    """All seeds of a job share the teacher of the first seed."""
    (tmp_path / "mine" / "teacher").mkdir(parents=True)
    (tmp_path / "mine" / "teacher" / "paired.yaml").write_text("defaults: [maxout_digits, _self_]\nseed: ${seed}\n")
    words = (
        "--config-dir",
        str(tmp_path / "mine"),
        "teacher=paired",
        "sweep.seeds=2",
        "seed=3",
        "method=backprop",
        *TINY,
    )
    assert command(*words).code == 0
    stored = commands(tmp_path / "store")
    assert len(stored) == 2
    for name, words_of_run in stored.items():
        again = command(*words_of_run[2:])
        assert "found, nothing was trained" in again.out
        assert name in again.out


def test_a_command_from_another_folder_names_run_py_and_the_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(*TINY).code == 0
    (directory,) = (tmp_path / "store" / "run").iterdir()
    environment = json.loads((directory / "environment.json").read_text())
    assert (environment["command"][:2], environment["folder"]) == (["python", str(ROOT / "run.py")], str(tmp_path))


def test_rerun_is_not_part_of_the_command(command, tmp_path):
    assert command(*TINY, "rerun=true").code == 0
    (words,) = commands(tmp_path / "store").values()
    assert "rerun=true" not in words


def test_an_unknown_command_is_refused_and_the_nearest_one_suggested(fitnets):
    finished = fitnets("reproduse", "table4")
    assert finished.code == 2
    assert finished.err.startswith("fitnets reproduse: no such command; did you mean reproduce? (commands: run, cost, ")
    assert len(finished.err.splitlines()) == 1
