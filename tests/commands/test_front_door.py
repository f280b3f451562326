"""Tests of `fitnets run`, `fitnets --version` and `python -m fitnets`, and of the plan that a run prints first."""

import importlib.metadata
import json
import sys

import pytest
import yaml

from fitnets import paths
from support.places import ROOT
from support.processes import cold, install, shell
from support.runs import TINY

COMMANDS = "run cost layers doctor runs eval predict report plot export push bench reproduce results clean prepare"


def plan_of(finished) -> list[str]:
    """Return the lines of the plan, which end before the lines of the epochs."""
    lines = finished.out.splitlines()
    return lines[: next(number for number, line in enumerate(lines) if line.startswith("  files"))]


# --- the first lines of the plan ---


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["method=kd"], ["method   kd", "schedule quick: ", "not the paper's", "schedule=paper", "seed=0 (student)"]),
        (["seed=4", "teacher.seed=7", "dataset.seed=2"], ["seed=4 (student), teacher.seed=7, dataset.seed=2"]),
        (["schedule=modern", *TINY], ["schedule modern: not the paper's training"]),
        (["schedule=paper", *TINY], ["schedule paper: the paper's numbers", "the paper has no training for such"]),
        (["schedule.name=mine"], ["schedule mine"]),
    ],
)
def test_the_first_lines_name_method_schedule_and_seeds(command, words, parts):
    finished = command(*TINY, *words, "schedule.student.max_steps=1", "schedule.teacher.max_steps=1")
    assert finished.code == 0, finished.err
    first = "\n".join(plan_of(finished)[:4])
    for part in parts:
        assert part in first


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["method=backprop", "schedule.student.epochs=3", "schedule.hint.epochs=2"],
            ["at most 5 epochs", "schedule.student.epochs=3", "schedule.hint.epochs=2", "schedule.equal_epochs=false"],
        ),
        (["method=kd", "schedule.student.epochs=2"], ["at most 3 epochs", "schedule.equal_epochs=false: 2 alone"]),
        (["method=joint", "schedule.hint.epochs=3"], ["at most 4 epochs", "schedule.equal_epochs=false: 1 alone"]),
    ],
)
def test_the_plan_explains_a_stage_that_is_longer_than_its_key(command, words, parts):
    finished = command(*TINY, *words)
    assert finished.code == 0, finished.err
    (line,) = [line for line in plan_of(finished) if "epochs: schedule.student.epochs=" in line]
    for part in parts:
        assert part in line


@pytest.mark.parametrize("words", [["method=hints"], ["method=backprop", "schedule.equal_epochs=false"]])
def test_the_plan_explains_nothing_if_the_length_is_that_of_the_key(command, words):
    finished = command(*TINY, *words)
    assert finished.code == 0, finished.err
    assert "schedule.student.epochs=" not in "\n".join(plan_of(finished))


# --- fitnets run, fitnets --version, python -m fitnets ---


def test_fitnets_run_is_run_py(fitnets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [*TINY, "method=backprop", "store=here"]
    finished = fitnets("run", *argv)
    assert finished.code == 0, finished.err
    (run,) = (tmp_path / "here" / "run").iterdir()
    command = json.loads((run / "environment.json").read_text())["command"]
    assert command == ["python", str(ROOT / "run.py"), *argv]
    assert sys.argv == ["fitnets", "run", *argv]
    again = fitnets("run", *argv)
    assert "found, nothing was trained" in again.out


def test_fitnets_run_sweeps(fitnets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = fitnets("run", "-m", *TINY, "method=backprop", "seed=0,1")
    assert finished.code == 0, finished.err
    assert len(list((tmp_path / "outputs" / "run").iterdir())) == 2


def test_fitnets_run_shows_help_and_configuration(fitnets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "== Groups (group=option) ==" in fitnets("run", "--help").out
    shown = fitnets("run", "student=fitnet3", "dataset=svhn", "--cfg", "job")
    assert yaml.safe_load(shown.out)["teacher"]["name"] == "maxout_svhn"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["student=fitnet9"], ["studnet=thin"], ["student.depth=x", "student=thin"]])
def test_fitnets_run_reports_mistakes_like_run_py(fitnets, command, words):
    first, second = fitnets("run", *words), command(*words)
    assert (first.code, first.err) == (second.code, second.err) == (1, first.err)
    assert first.err.count("\n") == 1


def test_version_and_the_list_of_commands(fitnets):
    assert fitnets("--version").out == f"fitnets {importlib.metadata.version('fitnets')}\n"
    listed = fitnets("--help").out
    for part in ("  run ", "fitnets --version", "fitnets COMMAND --help", "python -m fitnets"):
        assert part in listed
    assert "did you mean run?" in fitnets("runn").err


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("fitnets ", COMMANDS),
        ("fitnets ru", COMMANDS),
        ("fitnets run tracker=", "tracker=none tracker=tensorboard tracker=wandb"),
    ],
)
def test_completion_prints_candidates_and_nothing_else(fitnets, monkeypatch, line, candidates):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    done = fitnets("-sc", "query=bash")
    assert (done.code, done.out, done.err) == (0, f"{candidates}\n", "")


def test_completion_is_installed_for_the_command(fitnets):
    assert "-F hydra_bash_completion fitnets" in fitnets("-sc", "install=bash").out


def test_python_m_fitnets_is_the_command(tmp_path):
    done = shell("-m", "fitnets", "run", "student=fitnet9", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("student=fitnet9: no such option; did you mean fitnet4?")


def test_a_wheel_names_commands_that_work_there(tmp_path):
    site = install(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    done = cold("-m", "fitnets", "run", "--help", cwd=tmp_path / "elsewhere", PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    assert "  fitnets run dataset=mnist dataset.path=DIR" in done.stdout
    assert "run.py" not in done.stdout


def test_the_command_of_a_folder(tmp_path):
    assert paths.command() == paths.command(ROOT) == ["python", "run.py"]
    assert paths.command(tmp_path) == ["python", str(ROOT / "run.py")]
