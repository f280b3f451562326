"""The notebooks run in Jupyter on a store with known results."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from support import made_store as made
from support.places import ROOT
from support.runs import TINY

FOLDER = ROOT / "analysis" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture
def executed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, made_store: Path) -> Any:
    return execute(request.param, made_store, monkeypatch)


def execute(name: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FITNETS_STORE", str(store))
    monkeypatch.setenv("FITNETS_TASK", "digits")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    return notebook


def shown(notebook: Any) -> str:
    """The texts of all outputs."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(str(output.get("data", {}).get("text/plain", output.get("text", ""))) for output in outputs)


def images(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_notebooks_are_short_and_hold_no_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["depth", "distil", "sweep", "trade_off"]
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                assert (cell.outputs, cell.execution_count) == ([], None)
                assert len(cell.source.splitlines()) <= 12  # longer code belongs in a module


@pytest.mark.parametrize("executed", ["trade_off"], indirect=True)
def test_trade_off_shows_points_verdicts_and_three_figures(executed):
    text = shown(executed)
    assert re.search(r"finished +33", text)
    assert "['cifar10', 'digits'" in text
    assert "Warning" not in text
    assert "BETTER, +1.28 ± 0.52 points" in text
    assert images(executed) == 3


@pytest.mark.parametrize("executed", ["depth"], indirect=True)
def test_depth_shows_budgets_and_three_figures(executed):
    text = shown(executed)
    assert text.count("table6") >= len(made.DEPTHS) * 3
    assert "conv10" in text
    assert images(executed) == 3


def test_distil_trains_compares_and_shows_what_the_layers_see(tmp_path, monkeypatch):
    words = (
        *TINY,
        "schedule.student.epochs=3",
        "hint_layer=named",
        "hint_layer.teacher=conv2",
        "hint_layer.student=conv2",
    )
    monkeypatch.setenv("FITNETS_OVERRIDES", shlex.join(words))
    notebook = execute("distil", tmp_path / "store", monkeypatch)
    text = shown(notebook)
    assert "Result(" in text
    assert "test accuracy" not in text  # nothing is printed beside the curves
    assert "predicted" in text
    assert "'conv1': (10, 4, 4, 4)" in text
    assert re.search(r"hints .*kd|kd .*hints", text), text
    bars = next(
        str(output) for cell in notebook.cells if "outputs" in cell for output in cell.outputs if "█" in str(output)
    )
    assert "3/3 epochs" in bars
    assert images(notebook) == 2  # the curves, once, and the maps
    outputs = [
        line
        for cell in notebook.cells
        if "outputs" in cell
        for one in cell.outputs
        for line in str(one.get("text", "")).splitlines()
    ]
    assert len(outputs) < 40
    assert "\r" not in text
    assert "Warning" not in text


@pytest.mark.parametrize("executed", ["sweep"], indirect=True)
def test_sweep_shows_trials_and_progress(executed):
    text = shown(executed)
    assert "sizes" in text
    assert "depth=9 width=12" in text
    assert "student.width=8" in text
    assert images(executed) == 1


def test_trade_off_takes_methods_that_this_package_does_not_know(made_store, tmp_path, monkeypatch):
    store = Path(shutil.copytree(made_store, tmp_path / "outputs"))
    for seed in range(3):
        made.write_run(store, f"mine-{seed}", method="my own", hashes=made.hashes(method="mine"))
    notebook = execute("trade_off", store, monkeypatch)
    assert "my own" in shown(notebook)
    assert images(notebook) == 3
