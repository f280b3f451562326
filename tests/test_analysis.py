import json
import math
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from analysis import controls, runs


def write_run(store: Path, name: str, **changes) -> None:
    result = {
        "status": "finished",
        "dataset": "digits",
        "method": "kd",
        "schedule": "quick",
        "hashes": {"teacher": "t0", "setting": "s0", "method": "m0"},
        "seeds": {"dataset": 0, "teacher": 0, "student": int(name[-1]) if name[-1].isdigit() else 0},
        "stages": {"teacher": {"epochs": 9}, "student": {"epochs": 30}},
        "teacher": {
            "name": "big",
            "valid_accuracy": 0.99,
            "test_accuracy": 0.98,
            "multiplications": 3e6,
            "parameters": 1e5,
        },
        "student": {
            "name": "thin",
            "valid_accuracy": 0.9,
            "test_accuracy": 0.8,
            "multiplications": 1e6,
            "parameters": 2e4,
        },
    }
    (store / "run" / name).mkdir(parents=True)
    (store / "run" / name / "result.json").write_text(json.dumps(result | changes))


def student(accuracy: float) -> dict:
    return {
        "name": "thin", "valid_accuracy": accuracy, "test_accuracy": accuracy,
        "multiplications": 1e6, "parameters": 2e4,
    }  # fmt: skip


def test_interval_by_hand():
    """Values 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653, half-width t / sqrt(3)."""
    mean, half_width = controls.interval(pd.Series([1.0, 2.0, 3.0]))
    assert (mean, half_width) == (2.0, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6))
    assert math.isnan(controls.interval(pd.Series([1.0]))[1])


def test_table_has_a_row_a_method_with_n_and_interval(tmp_path):
    for seed, accuracy in enumerate((0.91, 0.92, 0.93)):
        write_run(tmp_path, f"kd{seed}", student=student(accuracy))
    write_run(
        tmp_path, "h0", method="hints", student=student(0.95),
        stages={"teacher": {"epochs": 9}, "hint": {"epochs": 10}, "student": {"epochs": 20}},
    )  # fmt: skip
    rows = [line for line in controls.table(runs.load(tmp_path)).splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| teacher | 1 | 9 | 99.00 (no interval) | 98.00 (no interval) | 3 M | 100 k |",
        "| kd | 3 | 30 | 92.00 ± 2.48 | 92.00 ± 2.48 | 1 M | 20 k |",
        "| hints | 1 | 30 | 95.00 (no interval) | 95.00 (no interval) | 1 M | 20 k |",
    ]


def test_differences_are_paired_by_seed(tmp_path):
    """Differences 1, 2, 3 points: 2 ± 4.302653 / sqrt(3), although each method's own spread is larger."""
    for seed, (kd, hints) in enumerate(((0.80, 0.81), (0.90, 0.92), (0.70, 0.73))):
        write_run(tmp_path, f"kd{seed}", student=student(kd))
        write_run(tmp_path, f"h{seed}", method="hints", student=student(hints))
    assert "hints - kd on validation: +2.00 ± 2.48 points." in controls.table(runs.load(tmp_path))


def test_runs_that_did_not_finish_are_listed_and_left_out_of_the_table(tmp_path):
    write_run(tmp_path, "good")
    (tmp_path / "run" / "bad").mkdir()
    (tmp_path / "run" / "bad" / "result.json").write_text('{"status": "diverged", "error": "nan"}')
    frame = runs.load(tmp_path)
    assert dict(zip(frame["run"], frame["status"], strict=True)) == {"bad": "diverged", "good": "finished"}
    assert "| kd | 1 |" in controls.table(frame)


def test_other_settings_have_tables_of_their_own(tmp_path):
    write_run(tmp_path, "a0")
    write_run(tmp_path, "b0", hashes={"teacher": "t0", "setting": "s1"})
    assert controls.table(runs.load(tmp_path)).count("| kd | 1 |") == 2


def test_a_seed_with_two_teachers_is_no_repetition(tmp_path, monkeypatch, capsys):
    write_run(tmp_path, "a1")
    write_run(tmp_path, "b1", hashes={"teacher": "t1", "setting": "s0"})
    monkeypatch.setattr("sys.argv", ["controls", str(tmp_path)])
    assert controls.main() == 1
    assert "kd has seed=1 with several teacher seeds" in capsys.readouterr().err


def test_a_store_of_failed_runs(tmp_path, monkeypatch, capsys):
    write_run(tmp_path, "a", status="failed")
    monkeypatch.setattr("sys.argv", ["controls", str(tmp_path)])
    assert controls.main() == 1
    assert "none of the 1 runs is finished" in capsys.readouterr().err


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["controls", str(tmp_path)])
    assert controls.main() == 1
    assert "no run/*/result.json" in capsys.readouterr().err
    write_run(tmp_path, "good")
    assert controls.main() == 0
    assert "| teacher | 1 | 9 |" in capsys.readouterr().out


def test_a_method_with_several_settings_of_its_own_is_told(tmp_path):
    for number in range(2):
        write_run(
            tmp_path, f"r{number}", method="joint", hashes={"teacher": "t0", "setting": "s0", "method": f"m{number}"}
        )
    with pytest.raises(ValueError, match="joint was run with several settings of its own"):
        controls.table(runs.load(tmp_path))


def test_every_method_is_in_the_table(tmp_path):
    methods = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")}
    assert set(controls.METHODS) == methods
    for method in methods:
        write_run(tmp_path, f"{method}0", method=method, stages={"student": {"epochs": 30}})
    table = controls.table(runs.load(tmp_path))
    assert all(f"| {method} | 1 | 30-30 |" in table or f"| {method} | 1 | 30 |" in table for method in methods)
