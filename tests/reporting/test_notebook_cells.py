"""Every cell of the notebooks shows a result, or prints one sentence about what the store lacks."""

import ast
import re
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import optuna
import pandas as pd
import pytest
from matplotlib.figure import Figure
from optuna.trial import TrialState

from support import made_store as made
from support.places import ROOT

FOLDER = ROOT / "analysis" / "notebooks"
NOTEBOOKS = [
    path.stem for path in sorted(FOLDER.glob("*.ipynb")) if path.stem != "distil"
]  # distil trains its own runs


def missing(root: Path) -> Path:
    return root / "nowhere"


def empty(root: Path) -> Path:
    root.mkdir()
    return root


def one_run(root: Path) -> Path:
    made.write_run(root, "a0", epochs=3)
    return root


def one_running(root: Path) -> Path:
    made.write_run(root, "a0", status="running")
    return root


def grid(root: Path) -> Path:
    """A store with two methods, two seeds and no study."""
    for method in ("kd", "hints"):
        for seed in range(2):
            made.write_run(
                root, f"{method}{seed}", epochs=3, method=method, diagnoses=made.diagnoses(0.9),
                student=made.side("thin", 90 + seed, 1000, 100), hint=made.pair("conv2") if method == "hints" else None,
                hashes=made.hashes(method=method),
            )  # fmt: skip
    return root


def unfinished_study(root: Path) -> Path:
    """A store with a study whose only trials failed or are running."""
    study = made.write_study(root, {})
    made._add(study, 0, {"depth": 3}, state=TrialState.FAIL, reason="ValueError: no")
    study.ask()  # a trial that never ends
    return root


def torn_study(root: Path) -> Path:
    """A store with a study that cannot be read."""
    made.write_study(root, made.THIN)
    (root / "sweeps" / "sizes" / "study.log").write_text("no JSON\n" * 3)
    return root


def at_chance(root: Path) -> Path:
    made.write_run(root, "a0", epochs=3, commonest_class=0.95)
    return root


def complete(root: Path) -> Path:
    return made.make(root)


STORES = [missing, empty, one_run, one_running, grid, unfinished_study, torn_study, at_chance, complete]
SENTENCE = re.compile(r"[^\n]{10,400}\.\n")


def cells(name: str) -> list[str]:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    return [cell.source.replace("%matplotlib inline\n", "") for cell in notebook.cells if cell.cell_type == "code"]


def executed(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last expression, as a notebook does."""
    tree = ast.parse(source)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("make", STORES, ids=lambda make: make.__name__)
def test_every_cell_shows_a_result_or_prints_what_is_missing(make, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FITNETS_STORE", str(make(tmp_path / "store")))
    monkeypatch.delenv("FITNETS_TASK", raising=False)
    monkeypatch.chdir(FOLDER)
    matplotlib.use("Agg")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sentences = []
    for name in NOTEBOOKS:
        names: dict[str, Any] = {}
        for source in cells(name):
            capsys.readouterr()
            shown = executed(source, names)
            printed = capsys.readouterr().out
            if shown is None:
                assert SENTENCE.fullmatch(printed), source
                sentences.append(printed)
            else:
                assert printed == ""
                assert len(shown) if isinstance(shown, list | pd.DataFrame | pd.Series) else isinstance(shown, Figure)
    pd.reset_option("display.max_colwidth")
    assert (
        len(sentences) == 2 if make is complete else len(sentences) > 2
    )  # too few trials, and no similarities on cifar10


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, "nowhere: no such folder: set FITNETS_STORE"),
        (empty, "no runs in it: `python run.py` makes one"),
        (grid, "no study in this store: `python run.py -m +sweeps=depth_width` makes one"),
        (unfinished_study, "study sizes: none of its 2 trials is finished"),
        (torn_study, "study sizes cannot be read"),
    ],
)
def test_the_sentence_names_what_is_missing(make, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FITNETS_STORE", str(make(tmp_path / "store")))
    names: dict[str, Any] = {}
    for source in cells("sweep"):
        executed(source, names)
    pd.reset_option("display.max_colwidth")
    assert words in capsys.readouterr().out


def test_an_unknown_task_lists_the_possible_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FITNETS_STORE", str(grid(tmp_path / "store")))
    monkeypatch.setenv("FITNETS_TASK", "dogits")
    names: dict[str, Any] = {}
    for source in cells("trade_off"):
        executed(source, names)
    pd.reset_option("display.max_colwidth")
    assert "no finished run in ['digits']: set FITNETS_TASK to one of these." in capsys.readouterr().out
