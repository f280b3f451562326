"""Tests of the entry points as processes: speed, exit codes, other working directories."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.places import ROOT
from support.processes import cold, install, shell
from support.runs import TINY

SMALL = (  # a student in a user's own file
    "defaults: [/hydra/fitnets/Thin@_here_, override /hint_layer@_global_.hint_layer: middle, _self_]\n"
    "name: small\ndepth: 4\nwidth: 2\n"
)


def processor_s(*words: str, cwd: Path) -> float:
    """Return the CPU seconds of `python WORDS`: the least of three, because other processes can only add to them."""
    took_s = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = cold(*words, cwd=cwd)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took_s.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert done.returncode == 0, done.stderr
    return min(took_s)


def imports_of(traced: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the modules that a process with `-X importtime` imported."""
    return {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}


HEAVY = {"torch", "wandb", "optuna", "pandas", "datasets", "sklearn", "rich", "numpy"}


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_help_and_configuration_import_nothing_heavy(flags, tmp_path):
    imported = imports_of(cold("-X", "importtime", str(ROOT / "run.py"), *flags, cwd=tmp_path))
    assert "hydra" in imported
    assert not imported & HEAVY
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timed
@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_help_and_configuration_take_less_than_a_second(flags, tmp_path):
    """The bound grows on a slow machine with the time that `import hydra` takes."""
    bound_s = max(1, 5 * processor_s("-c", "import hydra", cwd=tmp_path))
    assert processor_s(str(ROOT / "run.py"), *flags, cwd=tmp_path) < bound_s


def test_help_names_the_groups_and_their_options(tmp_path):
    done = shell(str(ROOT / "run.py"), "--help", cwd=tmp_path).stdout
    for group in (
        "dataset: aflw,",
        "dataset/preprocessing: local_contrast,",
        "student: custom, fitnet1,",
        "teacher: custom, ensemble,",
    ):
        assert group in done


def test_student_and_data_set_choose_teacher_pair_and_schedule(tmp_path):
    done = shell(str(ROOT / "run.py"), "student=fitnet3", "dataset=svhn", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    job = yaml.safe_load(done.stdout)
    assert [job[key]["name"] for key in ("dataset", "teacher", "student")] == ["svhn", "maxout_svhn", "fitnet3"]
    assert (job["hint_layer"]["name"], job["teacher"]["hint"], job["student"]["guided"]) == ("paper", "conv2", "conv8")
    quick = yaml.safe_load((ROOT / "conf" / "schedule" / "quick" / "svhn.yaml").read_text())
    for stage in ("teacher", "hint", "student"):
        assert job["schedule"][stage]["epochs"] == quick[stage]["epochs"]


def test_fitnets_help_imports_not_even_hydra(tmp_path):
    done = cold("-X", "importtime", "-m", "fitnets.cli", "--help", cwd=tmp_path)
    assert "fitnets cost" in done.stdout
    assert not imports_of(done) & {*HEAVY, "hydra", "omegaconf"}


@pytest.mark.timed
def test_fitnets_help_takes_less_than_a_quarter_of_a_second(tmp_path):
    assert processor_s("-m", "fitnets.cli", "--help", cwd=tmp_path) < 0.25


def test_the_installed_command_works_from_any_directory(tmp_path):
    (tmp_path / "mine" / "student").mkdir(parents=True)
    (tmp_path / "mine" / "student" / "small.yaml").write_text(SMALL)
    script = Path(sys.executable).with_name("fitnets")
    words = [script, "cost", "--config-dir", "mine", "student=small", "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["student"]["name"] == "small"


def test_run_works_from_any_directory_writes_below_its_store_only_and_imports_no_compiler(tmp_path):
    done = cold("-X", "importtime", str(ROOT / "run.py"), *TINY, "store=results", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch" in imports_of(done)
    assert "torch._dynamo" not in imports_of(done)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == [".fitnets-store.json", "cache", "data", "hint", "run", "teacher"]


def test_an_installed_wheel_runs_with_the_conf_and_run_py_inside_the_package(tmp_path):
    site = install(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for action in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "the user's own"]):
        subprocess.run(["git", *identity, *action], cwd=tmp_path, check=True)
    words = [*TINY, "dataset=digits"]
    for module in ("fitnets.cli", "fitnets.root.run"):
        command = ["-m", module, *(["cost"] if module == "fitnets.cli" else []), *words]
        done = cold(*command, cwd=tmp_path / "elsewhere", PYTHONPATH=str(site))
        assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "elsewhere" / "outputs" / "run").iterdir()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["command"] == ["fitnets", "run", *words]
    assert environment["commit"] is None


def test_a_sweep_writes_below_its_store_only(tmp_path):
    done = shell(str(ROOT / "run.py"), "-m", *TINY, "store=results", "method=kd,backprop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_users_own_options_come_from_the_config_dir(tmp_path):
    (tmp_path / "mine" / "student").mkdir(parents=True)
    (tmp_path / "mine" / "student" / "small.yaml").write_text(SMALL)
    done = shell(str(ROOT / "run.py"), "--config-dir", "mine", *TINY[:1], *TINY[4:], "student=small", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "student  small, " in done.stdout


def test_exit_code_of_a_mistake(tmp_path):
    done = shell(str(ROOT / "run.py"), "student=fitnet9", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    full = shell(str(ROOT / "run.py"), "student=fitnet9", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert full.returncode == 1
    assert "Traceback" in full.stderr
