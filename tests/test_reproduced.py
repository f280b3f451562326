"""The paper's tables beside ours, from a folder with known results."""

import json

import made_store as made
import pytest
import scipy.stats

from analysis import reproduced


def candidate(method, *hashes):
    return {
        "method": method,
        "command": f"python run.py -m method={method} seed=0,1,2",
        "runs": dict(enumerate(hashes)),
    }


def row(label, published, side="student", **cells):
    return {"label": label, "paper": published, "parameters": "~30K", "side": side, "cells": cells}


@pytest.fixture
def folder(tmp_path):
    """A table of three seeds by two methods under schedule=paper, one seed under modern, whose choice test would not
    have made. Errors on test are one point above those on validation."""
    for method, accuracies in (("backprop", [97.0, 97.5, 98.0]), ("hints", [99.0, 99.2, 99.4])):
        for seed, accuracy in enumerate(accuracies):
            shared = {"schedule": "paper", "method": method, "hashes": made.hashes(method=method)}
            made.write_run(
                tmp_path, f"{method}{seed}", student=made.side("thin", accuracy, 5_300_000, 29_944), **shared
            )
    for method, valid, test in (("kd", 99.5, 99.0), ("hints", 99.3, 99.2)):
        side = made.side("thin", valid, 5_300_000, 29_944) | {"test_error": 1 - test / 100}
        hashes = made.hashes(setting="modern", method=method)
        made.write_run(tmp_path, f"modern-{method}-0", schedule="modern", method=method, student=side, hashes=hashes)
    told = {
        "name": "table4",
        "title": "Table 4: misclassification",
        "dataset": "mnist",
        "measure": "error",
        "split": "test",
        "figure": None,
        "schedules": ["paper", "modern"],
        "scale": "epochs x 0.1",
        "epochs": {"paper": "teacher 50 of 500", "modern": "teacher 6 of 60"},
        "changes": ["dataset.seed=3"],
        "choices": ["Kernels are the recipe's."],
        "rows": [
            row("teacher", 0.55, "teacher", paper=[candidate("hints", "hints0", "hints1", "hints2")]),
            row(
                "FitNet, backprop",
                1.9,
                paper=[candidate("backprop", "backprop0", "backprop1", "backprop2")],
                modern=[candidate("backprop", "gone0", "gone1")],
            ),
            row(
                "FitNet, hints",
                0.51,
                paper=[candidate("hints", "hints0", "hints1", "hints2", "gone3")],
                modern=[candidate("hints", "modern-hints-0"), candidate("kd", "modern-kd-0")],
            ),
            {"label": "Maxout (published)", "paper": 0.45, "parameters": "", "side": "student", "cells": {}},
        ],
    }
    (tmp_path / "table.json").write_text(json.dumps(told))
    return tmp_path


def lines(folder):
    """Of the table itself, by their label."""
    table = reproduced.markdown(folder).partition("<details>")[0]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}


def test_every_figure_has_its_interval_and_number_or_says_that_there_is_none(folder):
    found = lines(folder)
    half_width = scipy.stats.t.ppf(0.975, 2) * 0.5 / 3**0.5  # of 4, 3.5 and 3 % on test
    assert f"| 1.90 (no interval) | 3.50 ± {half_width:.2f} (n = 3) | not run |" in found["FitNet, backprop"]
    assert "| 0.55 (no interval) | 2.00 (n = 1, no interval) |" in found["teacher"]
    assert "1.80 ± 0.50 (n = 3 of 4)" in found["FitNet, hints"]
    assert found["Maxout (published)"].endswith("| 0.45 (no interval) |  |  |")


def test_methods_are_chosen_on_validation(folder):
    assert "1.00 (n = 1, no interval); kd, chosen on validation before hints" in lines(folder)["FitNet, hints"]


def test_costs_are_the_papers_and_those_that_were_counted(folder):
    assert "| ~30K | 29.9 k | 5.3 M |" in lines(folder)["FitNet, backprop"]


def test_runs_that_diverged_are_told(folder):
    made.write_run(folder, "gone3", status="diverged", method="hints", schedule="paper")
    assert "(n = 3 of 4, 1 diverged)" in lines(folder)["FitNet, hints"]


def test_verdicts_differences_and_commands_stand_below(folder):
    text = reproduced.markdown(folder)
    assert "- `schedule=paper`, thin: hints against backprop: BETTER, +1.70 ± " in text
    assert "; on test +1.70 ± " in text
    assert "Small version (epochs x 0.1): not the paper's training." in text
    assert "- Small version, epochs x 0.1: `schedule=paper`: teacher 50 of 500" in text
    assert "- Changed by hand: `dataset.seed=3`.\n- Kernels are the recipe's." in text
    assert "`python run.py -m method=kd seed=0,1,2` | modern-kd-0 |" in text


def test_nothing_run_is_a_table_too(folder):
    for path in folder.glob("run/*/result.json"):
        path.unlink()
        path.parent.rmdir()
    assert lines(folder)["FitNet, hints"].endswith("| ~30K |  |  | 0.51 (no interval) | not run | not run |")


def test_as_a_command(folder, capsys, monkeypatch):
    for words, code in (([str(folder)], 0), ([], 1), ([str(folder / "run")], 1)):
        monkeypatch.setattr("sys.argv", ["reproduced", *words])
        assert reproduced.main() == code
        captured = capsys.readouterr()
        assert captured.out == (reproduced.markdown(folder) if code == 0 else "")
        assert len(captured.err.splitlines()) == code
