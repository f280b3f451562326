"""Tests of every `fitnets` command on every kind of data set."""

import json

import pytest

from fitnets.composition import loading
from fitnets.experiment import pipeline
from support import small_data
from support.small_data import BASE, KINDS, NETWORKS, STUDENT

WORDS = (*BASE, *NETWORKS, *STUDENT)


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """Train a run; returns (kind of data set, its overrides, directory of the finished run)."""
    root = tmp_path_factory.mktemp(request.param)
    words = [*small_data.make(root / "data")[request.param], f"store={root / 'store'}"]
    result = pipeline.run(loading.load([*WORDS, *words]))
    return request.param, words, root / "store" / "run" / result["hashes"]["run"]


def test_cost(trained, fitnets):
    finished = fitnets("cost", *WORDS, *trained[1], "--json")
    assert finished.code == 0, finished.err
    assert json.loads(finished.out)


def test_layers(trained, fitnets):
    finished = fitnets("layers", *WORDS, *trained[1])
    assert finished.code == 0, finished.err
    assert "conv1" in finished.out


def test_doctor(trained, fitnets):
    finished = fitnets("doctor", *WORDS, *trained[1])
    assert finished.code == 0, finished.out + finished.err


def test_runs(trained, fitnets):
    finished = fitnets("runs", trained[2].parents[1])
    assert finished.code == 0, finished.err
    assert trained[2].name[:8] in finished.out


def test_report(trained, fitnets, tmp_path):
    finished = fitnets("report", trained[2].parents[1], "--out", tmp_path / "report")
    assert finished.code == 0, finished.err
    assert list((tmp_path / "report").glob("*.html"))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_eval(trained, fitnets, split):
    finished = fitnets("eval", trained[2], "--split", split, "--json")
    assert finished.code == 0, finished.err
    result = json.loads((trained[2] / "result.json").read_text())["student"]
    if split != "train":
        assert result[f"{split}_accuracy"] == pytest.approx(_accuracy(json.loads(finished.out)), abs=1e-6)


def _accuracy(tree) -> float:
    """Return the first accuracy in a tree of results."""
    for key, value in tree.items():
        if key.endswith("accuracy") and isinstance(value, float):
            return value
        if isinstance(value, dict) and (accuracy := _accuracy(value)) is not None:
            return accuracy
    return None


@pytest.mark.parametrize(
    "trained",
    [kind if kind == "parquet" else pytest.param(kind, marks=pytest.mark.soak) for kind in KINDS],
    indirect=True,
    scope="module",
)
def test_export(trained, fitnets, tmp_path):
    finished = fitnets("export", trained[2], "--out", tmp_path / "out")
    assert finished.code == 0, finished.err
    assert {"student.onnx", "card.md"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_plan_of_a_table(trained, fitnets, tmp_path):
    kind, words, _ = trained
    finished = fitnets("reproduce", "table4", "--plan", f"store={tmp_path}", *_same_data(kind, words))
    assert finished.code == 0, finished.out + finished.err


def _same_data(kind: str, words: list[str]) -> list[str]:
    """Return the data of the plan. Table 4 is about MNIST, so that the Parquet files can take its place."""
    return [word for word in words if word.startswith("dataset.")] if kind == "parquet" else ["dataset=digits"]


def test_clean_leaves_the_run_and_its_teacher(trained, fitnets):
    finished = fitnets("clean", trained[2].parents[1], "--unfinished", "--yes")
    assert finished.code == 0, finished.err
    assert (trained[2] / "student.safetensors").exists()
    assert list((trained[2].parents[1] / "teacher").glob("[!.]*"))


def test_the_same_command_finds_the_run(trained, command):
    finished = command(
        *WORDS, *(word for word in trained[1] if not word.startswith("store=")), store=trained[2].parents[1]
    )
    assert finished.code == 0, finished.err
    assert "found, nothing was trained" in finished.out
