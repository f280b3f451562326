"""The run table, the table of methods and verdicts, and the Markdown that shows them."""

import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fitnets.console import markdown
from fitnets.console.tables import Table
from fitnets.reporting import controls, intervals, runs, tables, verdicts
from fitnets.reporting.verdicts import METHODS
from support.made_store import hashes, side, write_run
from support.places import ROOT


def student(accuracy: float) -> dict:
    return side("thin", 100 * accuracy, 1_000_000, 20_000) | {"test_accuracy": accuracy}


def test_interval_by_hand():
    """The values 1, 2, 3 have mean 2 and standard deviation 1. The half-width is t(0.975, 2) / sqrt(3)."""
    mean, half_width = intervals.interval(pd.Series([1.0, 2.0, 3.0]))
    assert (mean, half_width) == (2.0, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6))
    assert math.isnan(intervals.interval(pd.Series([1.0]))[1])


def test_the_table_has_one_row_for_each_method_with_n_and_interval(tmp_path):
    for seed, accuracy in enumerate((0.91, 0.92, 0.93)):
        write_run(tmp_path, f"kd{seed}", student=student(accuracy))
    write_run(
        tmp_path, "h0", method="hints", student=student(0.95),
        stages={"teacher": {"epochs": 9}, "hint": {"epochs": 10}, "student": {"epochs": 20}},
    )  # fmt: skip
    rows = [line for line in controls.table(runs.load(tmp_path)).splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        "| teacher | 1 | 9 | 99.00 (no interval) | 98.00 (no interval) | 3 M | 100 k |",
        "| kd | 3 | 30 | 92.00 ± 2.48 | 92.00 ± 2.48 | 1 M | 20 k |",
        "| hints | 1 | 30 | 95.00 (no interval) | 95.00 (no interval) | 1 M | 20 k |",
    ]


def test_differences_are_paired_by_seed(tmp_path):
    """The differences are 1, 2 and 3 points: 2 ± 4.302653 / sqrt(3), although each method alone has a larger spread."""
    for seed, (kd, hints) in enumerate(((0.80, 0.81), (0.90, 0.92), (0.70, 0.73))):
        write_run(tmp_path, f"kd{seed}", student=student(kd))
        write_run(tmp_path, f"h{seed}", method="hints", student=student(hints))
    assert "- hints against kd: INCONCLUSIVE, +2.00 ± 2.48 points (95 % interval, 3 seeds, paired)" in controls.table(
        runs.load(tmp_path)
    )


def test_runs_that_did_not_finish_are_listed_and_left_out_of_the_table(tmp_path):
    write_run(tmp_path, "good")
    (tmp_path / "run" / "bad").mkdir()
    (tmp_path / "run" / "bad" / "result.json").write_text('{"status": "diverged", "error": "nan"}')
    frame = runs.load(tmp_path)
    assert dict(zip(frame["run"], frame["status"], strict=True)) == {"bad": "diverged", "good": "finished"}
    assert "| kd | 1 |" in controls.table(frame)


def test_each_setting_has_its_own_table(tmp_path):
    write_run(tmp_path, "a0")
    write_run(tmp_path, "b0", hashes=hashes("s1"))
    assert controls.table(runs.load(tmp_path)).count("| kd | 1 |") == 2


def test_a_seed_with_two_teachers_is_not_a_repetition(tmp_path):
    write_run(tmp_path, "a1")
    write_run(tmp_path, "b1", hashes=hashes(teacher="t1"))
    write_run(tmp_path, "c1", method="hints")
    table = controls.table(runs.load(tmp_path))
    assert "| kd | 2 | 30 | 90.00 (no interval) | 89.00 (no interval) |" in table
    assert "no verdict: kd has a seed with several teachers" in table


def test_the_command_refuses_a_store_of_failed_runs(tmp_path, monkeypatch, capsys):
    write_run(tmp_path, "a", status="failed")
    monkeypatch.setattr("sys.argv", ["controls", str(tmp_path)])
    assert controls.main() == 1
    assert "none of the 1 runs is finished" in capsys.readouterr().err


def test_the_command_needs_a_store_with_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["controls", str(tmp_path)])
    assert controls.main() == 1
    assert "no run/*/result.json" in capsys.readouterr().err
    write_run(tmp_path, "good")
    assert controls.main() == 0
    assert "| teacher | 1 | 9 |" in capsys.readouterr().out


def test_a_method_with_several_pairs_has_a_row_for_each(tmp_path):
    for number in range(2):
        pair = {"teacher_layer": "conv2", "student_layer": f"conv{number}"}
        write_run(tmp_path, f"r{number}", method="hints", hint=pair, hashes=hashes(method=f"m{number}"))
    table = controls.table(runs.load(tmp_path))
    assert all(f"| hints (conv{number} learns conv2) | 1 |" in table for number in range(2))


def test_every_method_is_in_the_table(tmp_path):
    methods = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")} | {"a user's own"}
    assert set(METHODS) < methods
    for method in methods:
        write_run(tmp_path, f"{method.replace(' ', '')}0", method=method, stages={"student": {"epochs": 30}})
    table = controls.table(runs.load(tmp_path))
    assert all(f"| {method} | 1 | 30-30 |" in table or f"| {method} | 1 | 30 |" in table for method in methods)
    assert table.index("| hints |") < table.index("| a user's own |") < table.index("| attention |")


class TestFrames:
    def test_a_real_run_fills_every_column(self, earlier_run):
        frame = runs.load(earlier_run.parent.parent)
        result = json.loads((earlier_run / "result.json").read_text())
        row = frame.iloc[0]
        assert list(frame.columns) == ["run", *runs.RUN_COLUMNS, "trials"]
        no_options = {f"teacher_{name}" for name in ("options", "depth", "width")}
        not_from_a_command_line = {"command", "folder", "trial", "trials"}
        assert (
            set(frame.columns[frame.isna().any()]) == {"error", "retrain_epochs"} | no_options | not_from_a_command_line
        )
        assert row["student_options"] == "depth=3 width=4"
        assert (row["student_layers"], row["student_depth"], row["student_width"]) == (4, 3, 4)
        assert row["similarity_after_hint"] == result["diagnoses"]["hint"]["similarity"]
        assert row["run"] == earlier_run.name
        assert (row["seed"], row["student_epochs"]) == (0, 1)
        assert row["student_valid_accuracy"] == result["student"]["valid_accuracy"]
        assert row["student_batch_1_p50_ms"] == result["timing"]["latency"]["student"]["batch_1_p50_ms"]
        assert {name: str(frame[name].dtype) for name in runs.RUN_COLUMNS} == {
            name: column.dtype for name, column in runs.RUN_COLUMNS.items()
        }

    def test_its_epochs_are_a_row_each(self, earlier_run):
        frame = runs.epochs(earlier_run.parent.parent)
        assert list(frame["stage"]) == ["teacher", "hint", "student"]
        assert list(frame["step"]) == [0, 1, 2]
        assert set(runs.EPOCH_COLUMNS) < set(frame.columns)
        assert frame["valid_hint_loss"].notna().tolist() == [False, True, False]
        assert (frame["seconds"] > 0).all()

    def test_a_result_that_cannot_be_read_is_a_row(self, tmp_path):
        write_run(tmp_path, "good")
        write_run(tmp_path, "torn")
        (tmp_path / "run" / "torn" / "result.json").write_text('{"status": "fin')
        (tmp_path / "run" / "empty").mkdir()
        (tmp_path / "run" / ".hidden.partial-1").mkdir()
        (tmp_path / "run" / "good" / "metrics.jsonl").write_text('{"step": 0, "epoch": 0}\n{"step": 1, "ep')
        frame = runs.load(tmp_path).set_index("run")
        assert frame["status"].to_dict() == {"good": "finished", "torn": "damaged", "empty": "damaged"}
        assert frame.loc["torn", "error"].startswith("result.json cannot be read")
        assert frame.loc[["torn", "empty"], "student_valid_accuracy"].isna().all()
        assert runs.epochs(tmp_path)["step"].tolist() == [0]

    def test_a_value_of_another_type_is_missing(self, tmp_path):
        write_run(tmp_path, "odd", seeds={"student": 1.5, "teacher": "x"}, timing={"run_seconds": math.inf}, method=3)
        (tmp_path / "run" / "odd" / "metrics.jsonl").write_bytes(b'{"step": 0, "train_loss": Infinity}\n\xff\xfe\n')
        (row,) = runs.load(tmp_path).to_dict("records")
        assert (row["method"], row["student"]) == ("3", "thin")
        assert all(pd.isna(row[name]) for name in ("seed", "teacher_seed", "seconds"))
        assert runs.epochs(tmp_path)["step"].tolist() == [0]

    def test_the_plateau_of_the_hint_loss(self, tmp_path):
        directory = write_run(tmp_path, "a0")
        losses = [10.0, 4.0, 2.05, 2.0, 2.01]
        rows = [{"stage": "hint", "epoch": n, "valid_hint_loss": loss} for n, loss in enumerate(losses)]
        (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (progress,) = runs.hint_progress(runs.epochs(tmp_path)).to_dict("records")
        assert progress == {"run": "a0", "left": pytest.approx(0.2), "plateau_epoch": 3, "epochs": 5}

    def test_a_store_without_runs_gives_empty_tables(self, tmp_path):
        assert list(runs.load(tmp_path).columns) == ["run", *runs.RUN_COLUMNS, "trials"]
        assert list(runs.epochs(tmp_path).columns) == ["run", *runs.EPOCH_COLUMNS]
        assert len(runs.load(tmp_path)) == len(runs.epochs(tmp_path)) == 0

    @pytest.mark.timed
    def test_two_thousand_runs_of_fifty_epochs_load_in_five_seconds(self, tmp_path):
        row = {"stage": "student", "images": 1, "lr": 0.1, "train_loss": 1.0, "valid_error": 0.1, "valid_loss": 0.3}
        lines = [
            json.dumps({"step": n, "epoch": n, **row, "best": True, "timing": {"seconds": 1.0}}) for n in range(50)
        ]
        for number in range(2000):
            write_run(tmp_path, f"r{number}")
            (tmp_path / "run" / f"r{number}" / "metrics.jsonl").write_text("\n".join(lines))
        started = time.perf_counter()
        assert (len(runs.load(tmp_path)), len(runs.epochs(tmp_path))) == (2000, 100_000)
        assert time.perf_counter() - started < 5


class TestVerdicts:
    """Verdicts agree with SciPy's tests and with values computed by hand."""

    def series(self, values, first_seed=0) -> pd.Series:
        return pd.Series(values, index=range(first_seed, first_seed + len(values)), dtype=float)

    @pytest.mark.parametrize("shift", [0.0, 0.5, 3.0, -3.0])
    def test_a_paired_verdict_agrees_with_scipy(self, shift):
        first, second = self.series([3.1, 2.2, 4.0, 3.3]) + shift, self.series([3.0, 2.5, 3.6, 3.1])
        verdict = verdicts.compare(first, second)
        test = stats.ttest_rel(first, second)
        low, high = test.confidence_interval(0.95)
        assert verdict.is_paired
        assert verdict.difference == pytest.approx((low + high) / 2)
        assert verdict.half_width == pytest.approx((high - low) / 2)
        assert (verdict.word != "INCONCLUSIVE") == (test.pvalue < 0.05)
        assert verdict.word == {0.0: "INCONCLUSIVE", -3.0: "WORSE"}.get(shift, "BETTER")

    def test_a_verdict_without_common_seeds_agrees_with_scipys_welch_test(self):
        first, second = self.series([3.1, 2.2, 4.0]), self.series([1.0, 0.5, 1.6, 0.9], first_seed=10)
        verdict = verdicts.compare(first, second)
        low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
        assert not verdict.is_paired
        assert verdict.difference - verdict.half_width == pytest.approx(low)
        assert verdict.difference + verdict.half_width == pytest.approx(high)

    def test_a_smaller_error_is_better(self):
        first, second = self.series([0.1, 0.11, 0.1]), self.series([0.3, 0.31, 0.3])
        assert verdicts.compare(first, second, larger_is_better=False).word == "BETTER"

    def test_a_verdict_says_how_many_more_seeds_would_settle_it(self):
        """The differences 0, 1, 2 have mean 1 and deviation 1. A paired t-test of an effect as large as its deviation
        has a power of 80 % from 10 pairs on (Cohen's tables)."""
        verdict = verdicts.compare(self.series([0.0, 1.0, 2.0]), self.series([0.0, 0.0, 0.0]))
        assert (verdict.word, verdict.seeds, verdict.more_seeds) == ("INCONCLUSIVE", 3, 7)

    def test_that_number_of_seeds_settles_it_in_four_of_five_cases(self):
        random = np.random.default_rng(0)
        settled = [stats.ttest_1samp(random.normal(1, 1, 10), 0).pvalue < 0.05 for _ in range(2000)]
        assert np.mean(settled) == pytest.approx(0.8, abs=0.03)

    def test_equal_differences_are_not_certainty(self):
        """Both differences are one image of 300."""
        first, second = self.series([99.0, 98.0]), self.series([98.6667, 97.6667])
        assert verdicts.compare(first, second).word == "BETTER"
        assert verdicts.compare(first, second, resolution=100 / 300).word == "INCONCLUSIVE"

    def test_a_single_seed_is_inconclusive(self):
        verdict = verdicts.compare(self.series([0.9]), self.series([0.1]))
        assert (verdict.word, verdict.half_width, verdict.more_seeds) == ("INCONCLUSIVE", None, None)

    def test_no_number_of_seeds_settles_equal_means(self):
        assert verdicts.compare(self.series([1.0, 2.0]), self.series([2.0, 1.0])).more_seeds is None

    def test_unfair_comparisons_are_refused(self):
        with pytest.raises(ValueError, match="seeds differ"):
            verdicts.compare(self.series([1.0, 2.0, 3.0]), self.series([1.0, 2.0]))
        with pytest.raises(ValueError, match="a seed occurs twice"):
            verdicts.compare(pd.Series([1.0, 2.0], index=[0, 0]), self.series([1.0, 2.0]))

    def test_equal_epochs_count_both_stages(self, tmp_path):
        write_run(tmp_path, "a0", stages={"student": {"epochs": 30}})
        write_run(tmp_path, "b0", stages={"hint": {"epochs": 10}, "student": {"epochs": 20}})
        assert verdicts.equal_epochs(runs.load(tmp_path))
        write_run(tmp_path, "c0", stages={"student": {"epochs": 20}})
        assert not verdicts.equal_epochs(runs.load(tmp_path))


def test_a_bar_inside_a_cell_is_escaped():
    lines = ["| a | b |", "| --- | --- |", r"| x\|y |  |"]
    assert markdown.table(["a", "b"], [["x|y", ""]]).splitlines() == lines
    assert Table("title", ["a", "b"], [["x|y", ""]]).markdown().splitlines() == ["title", "", *lines]


def test_the_readme_explains_every_column_of_the_run_table():
    """`fitnets results` writes the table."""
    readme = (ROOT / "analysis" / "README.md").read_text()
    assert f"<!-- results: run_columns -->\n{tables.run_columns()}\n<!-- end -->" in readme
    assert all(f"`{name}`" in readme for name in runs.RUN_COLUMNS)
