"""What a shell sees: speed, exit codes, other working directories."""

import json
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, TINY, shell

SMALL = (  # a user's own student
    "defaults: [/hydra/fitnets/Thin@_here_, override /hint_layer@_global_.hint_layer: middle, _self_]\n"
    "name: small\ndepth: 4\nwidth: 2\n"
)


def processor_s(*words: str, cwd: Path) -> float:
    """What `python WORDS` takes of a processor, in s, at best of three: other processes can only add to it."""
    took_s = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = shell(*words, cwd=cwd)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took_s.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        assert told.returncode == 0, told.stderr
    return min(took_s)


def imports_of(traced: subprocess.CompletedProcess[str]) -> set[str]:
    """The modules that a process with `-X importtime` imported."""
    return {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_help_and_configuration_take_less_than_a_second_and_no_torch(flags, tmp_path):
    """Hydra alone sets the bound on a slow machine."""
    bound_s = max(1, 5 * processor_s("-c", "import hydra", cwd=tmp_path))
    assert processor_s(str(ROOT / "run.py"), *flags, cwd=tmp_path) < bound_s
    imported = imports_of(shell("-X", "importtime", str(ROOT / "run.py"), *flags, cwd=tmp_path))
    assert "hydra" in imported
    assert not imported & {"torch", "wandb", "optuna", "pandas", "datasets", "sklearn", "rich", "numpy"}
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_groups_and_their_options(tmp_path):
    told = shell(str(ROOT / "run.py"), "--help", cwd=tmp_path).stdout
    for group in (
        "dataset: aflw,",
        "dataset/preprocessing: local_contrast,",
        "student: custom, fitnet1,",
        "teacher: custom, ensemble,",
    ):
        assert group in told


def test_a_student_and_a_data_set_bring_teacher_pair_and_schedule(tmp_path):
    told = shell(str(ROOT / "run.py"), "student=fitnet3", "dataset=svhn", "--cfg", "job", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    job = yaml.safe_load(told.stdout)
    assert [job[key]["name"] for key in ("dataset", "teacher", "student")] == ["svhn", "maxout_svhn", "fitnet3"]
    assert (job["hint_layer"]["name"], job["teacher"]["hint"], job["student"]["guided"]) == ("paper", "conv2", "conv8")
    quick = yaml.safe_load((ROOT / "conf" / "schedule" / "quick" / "svhn.yaml").read_text())
    for stage in ("teacher", "hint", "student"):
        assert job["schedule"][stage]["epochs"] == quick[stage]["epochs"]


def test_fitnets_help_takes_less_than_a_quarter_of_a_second(tmp_path):
    assert "fitnets cost" in shell("-m", "fitnets.cli", "--help", cwd=tmp_path).stdout
    assert processor_s("-m", "fitnets.cli", "--help", cwd=tmp_path) < 0.25


def test_the_installed_command_works_from_any_directory(tmp_path):
    (tmp_path / "mine" / "student").mkdir(parents=True)
    (tmp_path / "mine" / "student" / "small.yaml").write_text(SMALL)
    script = Path(sys.executable).with_name("fitnets")
    words = [script, "cost", "--config-dir", "mine", "student=small", "--json"]
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(told.stdout)["student"]["name"] == "small"


def test_run_works_from_any_directory_writes_below_its_store_only_and_imports_no_compiler(tmp_path):
    told = shell("-X", "importtime", str(ROOT / "run.py"), *TINY, "store=results", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "torch" in imports_of(told)
    assert "torch._dynamo" not in imports_of(told)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == [".fitnets-store.json", "cache", "data", "hint", "run", "teacher"]


def test_so_it_does_from_a_wheel_which_has_conf_and_run_py_in_the_package(tmp_path):
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    site, ignored = tmp_path / "site", shutil.ignore_patterns("__pycache__")
    for name in built["packages"]:
        shutil.copytree(ROOT / name, site / name, ignore=ignored)
    for name, place in built["force-include"].items():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, site / place)
    (tmp_path / "elsewhere").mkdir()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for action in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "the user's own"]):
        subprocess.run(["git", *identity, *action], cwd=tmp_path, check=True)
    words = [*TINY, "dataset=digits"]
    for module in ("fitnets.cli", "fitnets.root.run"):
        command = ["-m", module, *(["cost"] if module == "fitnets.cli" else []), *words]
        told = shell(*command, cwd=tmp_path / "elsewhere", PYTHONPATH=str(site))
        assert told.returncode == 0, told.stderr
    (run,) = (tmp_path / "elsewhere" / "outputs" / "run").iterdir()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["command"] == ["fitnets", "run", *words]
    assert environment["commit"] is None


def test_a_sweep_too(tmp_path):
    told = shell(str(ROOT / "run.py"), "-m", *TINY, "store=results", "method=kd,backprop", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_users_own_options_come_from_his_config_dir(tmp_path):
    (tmp_path / "mine" / "student").mkdir(parents=True)
    (tmp_path / "mine" / "student" / "small.yaml").write_text(SMALL)
    told = shell(str(ROOT / "run.py"), "--config-dir", "mine", *TINY[:1], *TINY[4:], "student=small", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "student  small, " in told.stdout


def test_exit_code_of_a_mistake(tmp_path):
    told = shell(str(ROOT / "run.py"), "student=fitnet9", cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "Traceback" not in told.stderr
    full = shell(str(ROOT / "run.py"), "student=fitnet9", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert full.returncode == 1
    assert "Traceback" in full.stderr
