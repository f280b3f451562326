"""Points, fronts, studies and verdicts of a store with known results agree with independently computed values."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna._hypervolume import compute_hypervolume
from scipy import stats

from fitnets.composition import loading
from fitnets.models import costs
from fitnets.reporting import page as reporting_page
from fitnets.reporting import page_data, paper, runs, studies, summary, tables, tradeoff, verdicts
from support import made_store as made
from support.made_store import write_run


@pytest.fixture(scope="module")
def frame(made_store):
    return runs.load(made_store)


@pytest.fixture(scope="module")
def points(frame):
    return tradeoff.points(frame)


class TestRuns:
    def test_every_run_and_failed_trial_has_a_row(self, frame):
        counts = frame["status"].value_counts().to_dict()
        assert counts == {"finished": 33, "diverged": 1, "running": 1, "damaged": 1, "failed": 1}
        lost = frame[frame["status"] == "failed"].iloc[0]
        assert pd.isna(lost["run"])
        assert lost["trials"] == "sizes #7 (depth=17 width=30)"
        assert lost["error"].startswith("MemoryError")
        assert {name: str(frame[name].dtype) for name in runs.RUN_COLUMNS} == {
            name: column.dtype for name, column in runs.RUN_COLUMNS.items()
        }

    def test_a_run_has_its_trials_and_its_command(self, frame):
        run = frame.set_index("run").loc["thin2-0"]
        assert (run["trial"], run["trials"]) == ("sizes #2", "sizes #2 (depth=3 width=8)")
        assert run["command"] == "python run.py student=thin student.depth=3 student.width=8 hydra.mode=RUN"
        assert runs.labels(frame.set_index("run")).loc["thin2-0"] == "thin depth=3 width=8, conv2 learns conv2"

    def test_a_failed_trial_that_left_a_run_has_one_row(self, tmp_path):
        store = made.make(tmp_path)
        made.write_environment(store / "run" / "diverged0", "student=thin", trial="sizes #7")
        assert runs.load(store)["status"].value_counts().to_dict().get("failed") is None


class TestPoints:
    def test_a_point_is_the_mean_of_its_seeds(self, points):
        for method, accuracies in made.VALID.items():
            (point,) = points[(points["method"] == method) & (points["seeds"] == 5)].to_dict("records")
            low, high = stats.t.interval(0.95, 4, loc=np.mean(accuracies), scale=stats.sem(accuracies))
            assert 100 * point["valid_accuracy"] == pytest.approx(np.mean(accuracies))
            assert 100 * point["valid_half_width"] == pytest.approx((high - low) / 2)
            assert 100 * point["test_accuracy"] == pytest.approx(np.mean(accuracies) - 1)
            assert sorted(point["runs"]) == [f"{method}{seed}" for seed in made.SEEDS]
            assert point["multiplications"] == 600_000

    def test_a_single_seed_has_no_interval(self, points):
        thin = points[points["label"].str.startswith("thin")]
        assert len(thin) == len(made.THIN)
        assert thin["valid_half_width"].isna().all()

    def test_a_seed_with_several_teachers_has_no_interval(self, tmp_path):
        for name, teacher in (("a1", "t0"), ("b1", "t1")):
            write_run(tmp_path, name, hashes=made.hashes(teacher=teacher))
        (point,) = tradeoff.points(runs.load(tmp_path)).to_dict("records")
        assert (point["seeds"], point["count"], point["valid_accuracy"]) == (1, 2, 0.9)
        assert summary.repetitions(point) == "2 runs of 1 seed"
        assert np.isnan(point["valid_half_width"])

    def test_each_run_without_hashes_is_its_own_point(self, tmp_path):
        for number in range(2):
            write_run(tmp_path, f"old{number}", hashes={})
        frame = runs.load(tmp_path)
        assert [list(names) for names in tradeoff.points(frame)["runs"]] == [["old0"], ["old1"]]
        assert len(tradeoff.teachers(frame)) == 2

    def test_a_point_needs_test_accuracies_of_all_its_runs(self, tmp_path):
        without = {key: value for key, value in made.side("thin", 90.0, 10, 10).items() if not key.startswith("test")}
        write_run(tmp_path, "a1")
        write_run(tmp_path, "a2", student=without)
        (point,) = tradeoff.points(runs.load(tmp_path)).to_dict("records")
        assert np.isnan(point["test_accuracy"])
        assert point["valid_accuracy"] == pytest.approx(0.9)

    def test_different_splits_are_different_tasks(self, tmp_path):
        write_run(tmp_path, "a1")
        write_run(tmp_path, "b1", images={"train": 1237, "valid": 200, "test": 3000}, hashes=made.hashes("s1"))
        assert sorted(tradeoff.points(runs.load(tmp_path))["task"]) == ["digits", "digits (split 2)"]

    def test_teachers_are_counted_once(self, frame):
        teachers = tradeoff.teachers(frame).set_index("name")
        assert len(teachers) == 2
        assert teachers.loc["big", "seeds"] == 5
        assert teachers.loc["big", "multiplications"] == 3_000_000
        assert teachers.loc["maxout_cifar10", "valid_accuracy"] == pytest.approx(0.9)

    def test_teachers_of_different_schedules_are_different(self, tmp_path):
        """A bad and a good teacher are not two seeds of the same teacher."""
        for number, accuracy in enumerate((99.0, 80.0)):
            write_run(
                tmp_path, f"a{number}", teacher=made.side("big", accuracy, 3_000_000, 100_000),
                hashes=made.hashes(f"s{number}", teacher=f"t{number}") | {"teacher_setting": f"schedule {number}"},
            )  # fmt: skip
        frame = runs.load(tmp_path)
        assert sorted(tradeoff.teachers(frame)["valid_accuracy"]) == [0.8, 0.99]
        assert [line.split("(")[1][:7] for line in summary.headlines(frame) if "no cheaper" in line] == ["99.00 %"]

    def test_latencies_of_several_devices_are_not_averaged(self, tmp_path):
        for number, device in enumerate(("cpu", "gpu")):
            timing = {"device": device, "latency": made.latency(1.0 + number)}
            write_run(tmp_path, f"a{number}", timing=timing)
            write_run(tmp_path, f"b{number}", timing=timing, hashes=made.hashes(device))
        points = tradeoff.points(runs.load(tmp_path))
        assert points["device"].tolist() == [pd.NA, "cpu", "gpu"]
        assert points["latency_ms"].tolist() == [pd.NA, 1.0, 2.0]


class TestFront:
    def test_latencies_have_one_front_for_each_device(self):
        points = pd.DataFrame(
            {"task": "t", "device": ["cpu", "gpu"], "latency_ms": [5.0, 0.2], "valid_accuracy": [0.8, 0.9]}
        )
        assert tradeoff.fronts(points, "latency_ms").tolist() == [True, True]
        assert tradeoff.fronts(points.assign(parameters=[2.0, 1.0]), "parameters").tolist() == [False, True]

    def test_the_front_of_the_known_students(self, points):
        digits = points[points["task"] == "digits"]
        members = digits[tradeoff.front(digits["multiplications"], digits["valid_accuracy"])]
        expected = {f"thin depth={depth} width={width}, conv2 learns conv2" for depth, width in made.FRONT}
        assert set(members["label"]) == expected

    def test_the_front_agrees_with_its_definition(self):
        random = np.random.default_rng(0)
        costs, qualities = (pd.Series(random.integers(0, 12, 80), dtype=float) for _ in range(2))
        expected = [
            not any(
                other_cost <= cost and other >= quality and (other_cost < cost or other > quality)
                for other_cost, other in zip(costs, qualities, strict=True)
            )
            for cost, quality in zip(costs, qualities, strict=True)
        ]
        assert tradeoff.front(costs, qualities).tolist() == expected

    def test_a_point_with_a_missing_number_is_not_on_the_front(self):
        members = tradeoff.front(pd.Series([1.0, 2.0, None]), pd.Series([None, 0.5, 0.9], dtype="Float64"))
        assert members.tolist() == [False, True, False]


class TestStudies:
    def test_a_study_has_all_trials_with_their_status(self, made_store):
        (study,) = studies.load(made_store, with_importances=True)
        assert study.importances == {}  # six trials are too few
        assert (study.name, study.error) == ("sizes", None)
        assert study.objectives == {"accuracy": "maximize", "multiplications": "minimize"}
        assert study.trials["status"].tolist() == ["finished"] * 6 + ["over budget", "failed"]
        assert study.finished()["student.depth"].tolist() == [depth for depth, _ in made.THIN]
        assert study.trials.loc[7, "reason"].startswith("MemoryError")

    def test_importances_show_the_parameter_that_matters(self, tmp_path):
        """The accuracy of 60 trials depends on the width alone."""
        random = np.random.default_rng(0)
        trials = {
            (int(depth), int(width)): (float(width), 1000 * int(width))
            for depth, width in random.integers(3, 90, (60, 2))
        }
        made.write_study(tmp_path, trials)
        (study,) = studies.load(tmp_path, with_importances=True)
        for shares in study.importances.values():
            assert sum(shares.values()) == pytest.approx(1)
            assert shares["student.width"] > 0.8

    def test_loading_creates_no_file(self, tmp_path):
        (tmp_path / "sweeps" / "a").mkdir(parents=True)
        address = {"name": "a", "storage": f"sqlite:///{tmp_path}/none.db"}
        (tmp_path / "sweeps" / "a" / "study.json").write_text(json.dumps(address))
        (study,) = studies.load(tmp_path)
        assert study.error == f"{tmp_path}/none.db: no such file"
        assert not (tmp_path / "none.db").exists()

    def test_an_unreachable_database_is_named_without_its_password(self, tmp_path):
        (tmp_path / "sweeps" / "a").mkdir(parents=True)
        address = {"name": "a", "storage": "postgresql://me:secret@127.0.0.1:9/x"}
        (tmp_path / "sweeps" / "a" / "study.json").write_text(json.dumps(address))
        (study,) = studies.load(tmp_path)
        assert "refused" in study.error
        assert "secret" not in study.error

    def test_hypervolume_by_hand(self):
        """The point (0.2, 0.5) dominates 0.8 x 0.5, and (0.6, 0.1) adds 0.4 x 0.4 below it."""
        assert studies.hypervolume(np.array([[0.2, 0.5], [0.6, 0.1], [0.7, 0.7]])) == pytest.approx(0.4 + 0.16)
        assert studies.hypervolume(np.array([[0.0, 0.0]])) == 1
        assert studies.hypervolume(np.array([[1.0, 0.3], [0.2, 1.0]])) == 0

    def test_hypervolume_agrees_with_optuna(self):
        costs = np.random.default_rng(1).random((40, 2))
        assert studies.hypervolume(costs) == pytest.approx(compute_hypervolume(costs, np.ones(2)))

    def test_progress_with_two_objectives_is_the_hypervolume_so_far(self, made_store):
        (study,) = studies.load(made_store)
        accuracies, multiplications = (
            np.array(column, dtype=float) for column in zip(*made.THIN.values(), strict=True)
        )
        costs = np.column_stack([(97.0 - accuracies) / (97.0 - 89.0), (multiplications - 20_000) / (800_000 - 20_000)])
        reached = studies.progress(study)
        assert reached.index.tolist() == list(range(6))
        for count in range(1, 7):
            assert reached.iloc[count - 1] == pytest.approx(compute_hypervolume(costs[:count], np.ones(2)))

    def test_progress_with_one_objective_is_the_best_value(self, made_store):
        (study,) = studies.load(made_store)
        alone = studies.Study(
            name="one", objectives={"accuracy": "maximize"}, trials=study.trials, importances={}, error=None
        )
        assert studies.progress(alone).tolist() == pytest.approx([0.9, 0.9, 0.94, 0.94, 0.97, 0.97])

    def test_a_study_that_cannot_be_read_has_an_error(self, tmp_path):
        store = made.make(tmp_path)
        (store / "sweeps" / "sizes" / "study.log").unlink()
        (store / "sweeps" / "torn").mkdir()
        (store / "sweeps" / "torn" / "study.json").write_text("{")
        sizes, torn = studies.load(store)
        assert sizes.error.endswith("study.log: no such file")
        assert "torn" in torn.error
        assert len(runs.load(store)) == 36  # all but the failed trial

    def test_a_store_that_was_moved_can_be_read(self, tmp_path):
        store = made.make(tmp_path / "old")
        moved = shutil.move(store, tmp_path / "new")
        (study,) = studies.load(moved)
        assert (study.error, len(study.trials)) == (None, 8)


class TestVerdicts:
    def test_verdicts_of_the_known_methods_agree_with_scipy(self, frame):
        by_methods = {
            (one.first, one.second): one for one in verdicts.comparisons(frame) if one.setting["student"] == "fitnet"
        }
        assert set(by_methods) == {("hints", "backprop"), ("hints", "kd"), ("kd", "backprop")}
        words = {("hints", "backprop"): "BETTER", ("hints", "kd"): "INCONCLUSIVE", ("kd", "backprop"): "BETTER"}
        for (first, second), comparison in by_methods.items():
            test = stats.ttest_rel(made.VALID[first], made.VALID[second])
            low, high = test.confidence_interval(0.95)
            verdict = comparison.valid
            assert verdict.word == words[first, second]
            assert verdict.difference == pytest.approx((low + high) / 2)
            assert verdict.half_width == pytest.approx((high - low) / 2)
            assert (verdict.seeds, verdict.is_paired, comparison.epochs) == (5, True, 30)
            assert comparison.test.difference == pytest.approx(verdict.difference)

    def test_a_comparison_uses_the_seeds_that_both_methods_have(self, tmp_path):
        for method, seeds in (("kd", (0, 1, 2)), ("hints", (1, 2, 3))):
            for seed in seeds:
                write_run(tmp_path, f"{method}{seed}", method=method, student=made.side("thin", 80 + seed, 10, 10))
        (comparison,) = verdicts.comparisons(runs.load(tmp_path))
        assert (comparison.valid.seeds, comparison.valid.difference) == (2, 0)

    @pytest.mark.parametrize(
        ("changes", "refusal"),
        [
            ({"stages": {"student": {"epochs": 31}}}, "not trained for the same number of epochs"),
            ({"hashes": made.hashes(teacher="t7")}, "they had different teachers for the same seed"),
            ({"hashes": made.hashes() | {"kd": "hot"}}, "different temperatures or weights"),
            ({"status": "diverged"}, "one of them has no finished run"),
        ],
    )
    def test_unfair_comparisons_are_refused(self, tmp_path, changes, refusal):
        write_run(tmp_path, "a1", is_taught=True, hashes=made.hashes() | {"kd": "cold"})
        write_run(tmp_path, "c1", is_taught=True, hashes=made.hashes() | {"kd": "cold"}, method="backprop")
        write_run(tmp_path, "b1", is_taught=True, method="hints", **changes)
        by_second = {one.second: one for one in verdicts.comparisons(runs.load(tmp_path)) if one.first == "hints"}
        assert by_second["kd"].valid is None
        assert refusal in str(by_second["kd"])

    def test_backprop_has_no_teacher_to_differ_in(self, tmp_path):
        write_run(tmp_path, "a1", method="backprop", is_taught=False)
        write_run(tmp_path, "b1", method="hints", is_taught=True, hashes=made.hashes(teacher="t7"))
        (comparison,) = verdicts.comparisons(runs.load(tmp_path))
        assert comparison.valid.difference == 0

    def test_a_comparison_with_diverged_runs_is_refused(self, tmp_path):
        for seed in range(4):
            write_run(tmp_path, f"kd{seed}")
            write_run(tmp_path, f"h{seed}", method="hints", status="diverged" if seed > 1 else "finished")
        (comparison,) = verdicts.comparisons(runs.load(tmp_path))
        assert "2 of 8 runs diverged (hints seed 2, hints seed 3)" in comparison.refusal

    @pytest.mark.parametrize(("accuracies", "is_verdict"), [((10, 12), False), ((10, 13), True), ((13, 10), True)])
    def test_two_networks_that_have_not_begun_to_learn_are_not_compared(self, tmp_path, accuracies, is_verdict):
        for method, accuracy in zip(("kd", "hints"), accuracies, strict=True):
            for seed in range(2):
                student = made.side("thin", accuracy, 10, 10)
                write_run(tmp_path, f"{method}{seed}", method=method, student=student, commonest_class=0.12)
        (comparison,) = verdicts.comparisons(runs.load(tmp_path))
        assert (comparison.valid is not None) == is_verdict
        assert is_verdict or "neither has begun to learn" in str(comparison)

    def test_runs_that_did_not_finish_are_named(self, tmp_path):
        for seed in range(3):
            write_run(tmp_path, f"kd{seed}")
            write_run(tmp_path, f"h{seed}", method="hints", status="failed" if seed > 1 else "finished")
        (comparison,) = verdicts.comparisons(runs.load(tmp_path))
        assert comparison.valid.seeds == 2
        assert comparison.left_out == "left out: hints seed 2, failed; left out: seeds that only one of them has (2)"

    def test_without_a_common_seed_the_comparison_is_unpaired(self, tmp_path):
        for seed in range(4):
            student = made.side("thin", 80 + seed, 10, 10)
            write_run(tmp_path, f"a{seed}", method="kd" if seed < 2 else "hints", student=student)
        (comparison,) = verdicts.comparisons(runs.load(tmp_path))
        assert (comparison.valid.is_paired, comparison.valid.difference) == (False, pytest.approx(2))

    def test_each_pair_of_layers_has_its_own_comparison(self, tmp_path):
        write_run(tmp_path, "kd1")
        for number in range(2):
            hint = {"teacher_layer": "conv2", "student_layer": f"conv{number}"}
            write_run(tmp_path, f"h{number}-1", method="hints", hint=hint, hashes=made.hashes(method=f"m{number}"))
        names = [(one.first, one.second) for one in verdicts.comparisons(runs.load(tmp_path))]
        assert names == [(f"hints (conv{number} learns conv2)", "kd") for number in range(2)]
        write_run(tmp_path, "again1", method="hints", hint=hint, hashes=made.hashes(method="other regressor"))
        names = [one.first for one in verdicts.comparisons(runs.load(tmp_path))]
        assert {"hints (conv1 learns conv2) [m1]", "hints (conv1 learns conv2) [other ]"} < set(names)

    def test_methods_retrained_for_different_epochs_have_no_verdict_on_test(self, tmp_path):
        for number, method in enumerate(("kd", "hints")):
            stages = {"student": {"epochs": 30}, "retrain_student": {"epochs": 20 + number}}
            write_run(tmp_path, f"{method}1", method=method, stages=stages)
        (comparison,) = verdicts.comparisons(runs.load(tmp_path))
        assert (comparison.valid is None, comparison.test) == (False, None)

    def test_a_verdict_in_words(self):
        series = [pd.Series(values) for values in itertools.repeat([1.0, 2.0, 3.0], 2)]
        assert str(verdicts.compare(series[0] + [0, 1, 2], series[1])) == (
            "INCONCLUSIVE, +1.00 ± 2.48 points (95 % interval, 3 seeds, paired); about 7 more seeds would settle it "
            "with a probability of 80 %"
        )
        assert str(verdicts.compare(series[0], series[1])).endswith("not even 1,000 seeds would settle it")
        assert str(verdicts.compare(series[0][:1] + 1, series[1][:1])).endswith("with a single seed: give at least two")


class TestWords:
    def test_headlines(self, frame):
        """On digits no student is within a point of 99 %. On CIFAR-10 the cheapest with at least 89 % costs 29.9 M."""
        lines = {line.split(":")[0]: line for line in summary.headlines(frame)}
        assert lines["digits"].endswith("(99.00 % on validation); the best has 97.00 %.")
        assert "table6 layers=9" in lines["cifar10"]
        assert f"{725 / 29.9:.1f} x fewer multiplications" in lines["cifar10"]
        assert "one run, no interval; chosen among 12" in lines["cifar10"]

    def test_markdown_tables(self, frame):
        text = tables.document(frame, verdicts.comparisons(frame))
        rows = [line for line in text.splitlines() if line.startswith("| thin depth")]
        assert [line.split(",")[0] for line in rows] == [
            f"| thin depth={depth} width={width}" for depth, width in made.FRONT
        ]
        assert "| thin depth=3 width=8, conv2 learns conv2 | hints | 1 | 94.00 | 93.00 | 70 k | 3.5 k |" in rows
        assert "- hints against backprop: BETTER, +1.28 ± 0.52 points (95 % interval, 5 seeds, paired)." in text
        assert "diverged" not in text

    @pytest.mark.parametrize("network", ["fitnet1", "fitnet2", "fitnet3_table5", "fitnet4"])
    def test_the_papers_costs_agree_with_our_networks(self, network):
        """The paper's rounded costs are within 3 % of ours, counted in its way."""
        sides = costs.costs_by_network(loading.load([f"student={network}", "dataset=cifar10"]))
        published = paper.PUBLISHED.set_index(["dataset", "method", "network"]).loc["cifar10"]
        for key, name in (("teacher", ("teacher", "maxout_cifar10")), ("student", ("hints", network))):
            for cost in ("paper_parameters", "paper_multiplications"):
                assert published.loc[name, cost] == pytest.approx(sides[key][cost], rel=0.03)


def test_the_files_of_a_report_hold_the_tables(made_store, tmp_path):
    page = reporting_page.write(made_store, tmp_path)
    frame = runs.load(made_store)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "runs.parquet"), frame)
    assert len(pd.read_csv(tmp_path / "runs.csv")) == len(frame)
    assert len(pd.read_parquet(tmp_path / "epochs.parquet")) == len(runs.epochs(made_store))
    pictures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert {"trade_off-digits-multiplications.png", "trade_off-digits-multiplications.svg", "depth-cifar10.svg"} <= set(
        pictures
    )
    assert made.HOSTILE not in page.read_text()


def test_a_hint_loss_of_zero_does_not_stop_the_report(tmp_path):
    directory = write_run(tmp_path, "a0")
    (directory / "metrics.jsonl").write_text(
        '{"stage": "hint", "epoch": 0, "valid_hint_loss": 0.0, "train_loss": 0.0}\n'
    )
    frame, epochs = runs.load(tmp_path), runs.epochs(tmp_path)
    assert page_data.collect(frame, epochs)["hints"]["a0"]["left"] is None
    assert reporting_page.write(tmp_path, tmp_path / "report").exists()


def test_a_full_disk_leaves_the_earlier_report(fitnets, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    write_run(tmp_path, "a0")
    assert fitnets("report", tmp_path).code == 0
    before = files(tmp_path / "report")
    write_run(tmp_path, "b0")
    monkeypatch.setattr("fitnets.store.files.os.fsync", full)
    finished = fitnets("report", tmp_path)
    assert finished.code == 1
    assert "no room left on the disk" in finished.err
    assert files(tmp_path / "report") == before


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_missing_store_is_reported_in_one_line(fitnets, tmp_path):
    finished = fitnets("report", tmp_path / "nowhere")
    assert finished.code == 1
    assert "no runs in it: give the folder" in finished.err
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == "[]"
