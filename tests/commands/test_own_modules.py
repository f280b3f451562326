"""A user's own `analysis.py`, `sweeps.py`, `config.py`, `tests.py` and `fitnets_utils/` beside the commands.

The project is one package, `fitnets`: every command works in such a folder, and a user's import path is the user's."""

import json
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from support.places import ROOT
from support.processes import cold, install
from support.runs import TINY

OWN_NETWORK = """
from torch import nn


def make():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
"""
UNWANTED = 'raise RuntimeError(f"the user\'s {__name__} was imported")\n'
COMMANDS = """
import sys

from fitnets import cli
from fitnets.machine import latency

latency._LATENCY_BUDGET_S, latency._LEAST_TURNS = 0.02, 2

def call(*words):
    sys.argv = ["fitnets", *words]
    try:
        code = cli.main()
    except SystemExit as error:
        code = error.code
    assert not code, f"{words}: exit code {code}"

tiny = sys.argv[1:]
call("run", *tiny)
from pathlib import Path
(run,) = map(str, Path("outputs/run").iterdir())
call("cost", *tiny)
call("layers", *tiny)
call("doctor", *tiny)
call("runs")
call("eval", run)
call("predict", run, "photo.png")
call("export", run)
call("report")
call("reproduce", "table4", "dataset=digits", "--only", "teacher", "--plan")
call("clean", "--yes")
call("run", "-m", *tiny, "seed=0,1")
call("run", "-m", "+sweeps=depth_width", "hydra.sweeper.n_trials=1", "sweep.budgets.relative_multiplications=9",
     *[word for word in tiny if not word.startswith("student")], "student.depth=3", "student.width=4,5")
print("all commands worked")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules of a user whose names were once those of the project's own packages, or are common."""
    (tmp_path / "analysis.py").write_text(OWN_NETWORK)
    for name in ("sweeps", "config", "tests"):
        (tmp_path / f"{name}.py").write_text(UNWANTED)
    (tmp_path / "fitnets_utils").mkdir()
    (tmp_path / "fitnets_utils" / "__init__.py").write_text(UNWANTED)
    Image.new("L", (8, 8), 128).save(tmp_path / "photo.png")
    return tmp_path


@pytest.mark.parametrize("place", [pytest.param("checkout", marks=pytest.mark.soak), "wheel"])
def test_every_command_works(folder, place, tmp_path_factory):
    site = ROOT if place == "checkout" else install(tmp_path_factory.mktemp("site"))
    (folder / "commands.py").write_text(COMMANDS)
    finished = cold("commands.py", *TINY, cwd=folder, PYTHONPATH=f".:{site}")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith("all commands worked\n")
    assert "the user's" not in finished.stdout + finished.stderr


def test_the_module_form_of_the_command_works(folder):
    finished = cold("-m", "fitnets.cli", "runs", cwd=folder, PYTHONPATH=f".:{ROOT}")
    assert finished.returncode == 1
    assert "outputs: no store" in finished.stderr


def test_an_import_path_is_the_users(folder):
    words = [*TINY[:4], "teacher=custom", "teacher.target=analysis.make", "hint_layer=middle", "--json"]
    finished = cold("-m", "fitnets.cli", "cost", *words, cwd=folder, PYTHONPATH=f".:{ROOT}")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["teacher"]["parameters"] == 6 * 9 + 6 + 8 * 54 + 8 + 1280 + 10


def test_a_notebook_imports_the_package(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f".:{ROOT}")
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    source = "from fitnets.reporting import figures, notebook, runs, studies, tradeoff\nnotebook.__file__"
    cells = [nbformat.v4.new_code_cell(source)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    assert "fitnets/reporting/notebook.py" in str(notebook.cells[0].outputs)


def test_no_module_of_the_project_lies_outside_its_package():
    """An installed wheel must not put `analysis`, `sweeps` or `conf` beside the packages of its user."""
    outside = [path for path in (*ROOT.glob("sweeps/**/*.py"), *ROOT.glob("analysis/**/*.py"), *ROOT.glob("*.py"))]
    assert outside == [ROOT / "run.py"]
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["fitnets"]
    assert all(target.startswith("fitnets/") for target in wheel["force-include"].values())
