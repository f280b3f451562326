"""Comparisons whose sides differ in initial weights, normalisation or teacher, as well as in the method."""

from pathlib import Path

import pandas as pd
import pytest

from fitnets.errors import NotEnoughError
from fitnets.reporting import against, factors, page, runs
from support import made_store as made

SPREAD = [0.0, 0.4, -0.3, 0.2]


def write(store: Path, method: str, init: str, accuracy: float, *, norm: str = "none", teacher: str = "t") -> None:
    """Write four seeds of a method. The setting's hash holds the initial weights, normalisation and teacher, as that of
    real runs does."""
    for seed, shift in enumerate(SPREAD):
        hashes = made.hashes(setting=f"{init}{norm}{teacher}", method=f"m{method}", teacher=f"{teacher}{seed}")
        made.write_run(
            store,
            f"{method}-{init}-{norm}-{teacher}-{seed}",
            method=method,
            initial_weights=init,
            normalization=norm,
            hashes=hashes | {"bare_setting": "bare", "teacher_setting": teacher},
            seeds={"dataset": 0, "teacher": seed, "student": seed},
            stages={"teacher": {"epochs": 9}, "student": {"epochs": 30}},
            student=made.side("thin", accuracy + shift, 1_000_000, 20_000),
        )


@pytest.fixture
def frame(tmp_path) -> pd.DataFrame:
    write(tmp_path, "hints", "variance", 92.0)
    write(tmp_path, "backprop", "variance", 90.0)
    write(tmp_path, "backprop", "lsuv", 91.0)
    write(tmp_path, "backprop", "lsuv", 91.5, norm="batch")
    write(tmp_path, "hints", "variance", 93.0, teacher="other")
    return runs.load(tmp_path)


def differences(frame: pd.DataFrame, *differing: str) -> list[dict[str, float | None]]:
    found = against.rankings(factors.regrouped(frame, differing), "hints")
    return [{row.method: row.difference for row in ranking.rows} for ranking in found]


def test_without_factors_only_the_method_differs(frame):
    assert factors.regrouped(frame, []) is frame
    assert differences(frame) == [{"hints": None, "backprop": pytest.approx(-2)}]


def test_initial_weights_may_differ_and_nothing_else(frame):
    assert differences(frame, "initial_weights") == [
        {
            "hints (variance)": None,
            "backprop (variance)": pytest.approx(-2),
            "backprop (lsuv)": pytest.approx(-1),
        }
    ]


def test_several_factors_may_differ_at_once(frame):
    (rows,) = differences(frame, "initial_weights", "normalization")
    assert rows == {
        "hints (variance, none)": None,
        "backprop (variance, none)": pytest.approx(-2),
        "backprop (lsuv, none)": pytest.approx(-1),
        "backprop (lsuv, batch)": pytest.approx(-0.5),
    }


def test_teachers_may_differ_for_the_same_seed(frame):
    both = differences(frame, "teacher")
    assert len(both) == 2  # each of the two variants of hints is a reference
    assert sorted(value for rows in both for name, value in rows.items() if name.startswith("hints") and value) == [
        pytest.approx(-1),
        pytest.approx(1),
    ]


def test_pairs_are_formed_by_seed(frame):
    (ranking,) = against.rankings(factors.regrouped(frame, ["initial_weights"]), "hints")
    rows = {row.method: row for row in ranking.rows}
    assert rows["backprop (lsuv)"].seeds == 4
    assert rows["backprop (lsuv)"].half_width < 0.1  # the seeds' own spread, 0.5, cancels


def test_runs_that_did_not_record_the_bare_setting_are_left_out(tmp_path):
    made.write_run(tmp_path, "old", method="hints", hashes=made.hashes())
    assert factors.regrouped(runs.load(tmp_path), ["initial_weights"]).empty


def test_the_page_shows_the_comparison(tmp_path, frame):
    page.write(tmp_path, tmp_path / "report", against="hints", differing=["initial_weights"])
    text = (tmp_path / "report" / "tables.md").read_text()
    assert "## Methods against hints (variance)" in text
    assert "| backprop (lsuv) | 4 |" in text
    with pytest.raises(NotEnoughError, match="no run of that method"):
        page.write(tmp_path, tmp_path / "report", against="nothing", differing=["initial_weights"])
