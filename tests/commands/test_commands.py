"""Every run knows the command that does it alone, whoever started it."""

import json
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, TINY

MINE = "defaults: [thin, _self_]\ndepth: 4\n"


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
def test_it_finds_the_run_again(command, tmp_path, words, runs):
    tiny = [word for word in TINY if not word.startswith(("student.depth", "student.width"))]
    finished = command(*words, *tiny)
    assert finished.code == 0, finished.err
    told = commands(tmp_path / "store")
    assert len(told) == runs
    for name, words_of_run in told.items():
        assert words_of_run[:2] == ["python", "run.py"]
        again = command(*words_of_run[2:])
        assert again.code == 0, again.err
        assert "found, nothing was trained" in again.out
        assert f"files in {tmp_path / 'store' / 'run' / name}" in again.out.replace("\n", " ")


def test_options_of_ones_own_are_part_of_it(command, tmp_path):
    (tmp_path / "mine dir" / "student").mkdir(parents=True)
    (tmp_path / "mine dir" / "student" / "small.yaml").write_text(MINE)
    words = [word for word in TINY if word not in ("student=thin", "student.depth=3")]
    assert command("--config-dir", str(tmp_path / "mine dir"), "student=small", *words).code == 0
    (found,) = commands(tmp_path / "store").values()
    assert shlex.join(found).startswith(f"python run.py --config-dir '{tmp_path}/mine dir' ")
    assert "found, nothing was trained" in command(*found[2:]).out


def test_figures_on_test_that_were_added_are_part_of_it(command, tmp_path):
    command(*TINY, "test=false")
    (first,) = commands(tmp_path / "store").values()
    assert "test=false" in first
    assert command(*TINY).code == 0
    (second,) = commands(tmp_path / "store").values()
    assert "test=false" not in second


def test_seeds_that_are_taken_from_the_students_stay_with_their_run(command, tmp_path):
    """The seeds of a job share the teacher that its first seed chose."""
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
    told = commands(tmp_path / "store")
    assert len(told) == 2
    for name, words_of_run in told.items():
        again = command(*words_of_run[2:])
        assert "found, nothing was trained" in again.out
        assert name in again.out


def test_from_another_folder_it_names_the_entrypoint_and_the_folder(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(*TINY).code == 0
    (directory,) = (tmp_path / "store" / "run").iterdir()
    told = json.loads((directory / "environment.json").read_text())
    assert (told["command"][:2], told["folder"]) == (["python", str(ROOT / "run.py")], str(tmp_path))


def test_training_again_is_no_part_of_it(command, tmp_path):
    assert command(*TINY, "rerun=true").code == 0
    (words,) = commands(tmp_path / "store").values()
    assert "rerun=true" not in words


def test_a_command_that_there_is_not_is_told_with_the_nearest(fitnets):
    finished = fitnets("reproduse", "table4")
    assert finished.code == 2
    assert finished.err.startswith("fitnets reproduse: no such command; did you mean reproduce? (commands: run, cost, ")
    assert len(finished.err.splitlines()) == 1
