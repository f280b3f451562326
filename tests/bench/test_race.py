"""RepDistiller's loop trains a student on this project's data and teacher, and goes on after a stop."""

import json

import pytest
import torch

from fitnets.bench import race
from fitnets.composition import loading
from fitnets.experiment import pipeline
from support.runs import TINY


@pytest.fixture
def words(tmp_path):
    """Overrides of a run whose teacher is trained."""
    words = [
        *TINY,
        "student.normalization=batch",
        "schedule.student.epochs=3",
        "schedule.equal_epochs=false",
        f"store={tmp_path / 'store'}",
    ]
    pipeline.run(loading.load([*words, "method=kd"]))
    return words


def epochs(out):
    return [json.loads(line) for line in out.read_text().splitlines()]


def checkpoint(out):
    (path,) = out.parent.glob(f"{out.name}.*.pt")
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("method", ["kd", "hint"])
def test_a_stopped_race_goes_on_where_it_was(words, tmp_path, repdistiller, monkeypatch, method):
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    arguments = [method, "0.001", *words, "engine.threads=1"]
    race.main([str(repdistiller), str(whole), *arguments])
    assert [row["epoch"] for row in epochs(whole)] == [0, 1, 2]
    assert {(row["method"], row["rate"], row["seed"]) for row in epochs(whole)} == {(method, 0.001, 0)}

    written = race.files.write

    def stopping(path, data):
        written(path, data)
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(race.files, "write", stopping)
            with pytest.raises(KeyboardInterrupt):
                race.main([str(repdistiller), str(parts), *arguments])
    race.main([str(repdistiller), str(parts), *arguments])
    assert epochs(parts) == epochs(whole)
    for name, tensor in checkpoint(whole)["modules"].items():
        assert tensor.isfinite().all()
        assert torch.equal(tensor, checkpoint(parts)["modules"][name]), name
    rates = [group["lr"] for group in checkpoint(whole)["optimizer"]["param_groups"]]
    assert rates == [pytest.approx(0.001 * 0.1**2)]  # divided by 10 after 150/240 and 180/240 of 3 epochs


def test_a_race_ends_when_it_is_accurate_enough(words, tmp_path, repdistiller):
    out = tmp_path / "epochs.jsonl"
    for _ in range(2):  # the second call finds that it is done
        race.main([str(repdistiller), str(out), "kd", "0.001", *words, "engine.threads=1", "--until", "0.01"])
    assert [row["epoch"] for row in epochs(out)] == [0]
