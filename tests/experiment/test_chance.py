"""Networks that are no better than always naming one class are reported as such.

Data sets and teachers with similar names stay distinct, and no interval of an accuracy goes beyond 0 or 100 %."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fitnets.console.terminal import Terminal
from fitnets.experiment import chance, result_table
from fitnets.reporting import controls, intervals, page_data, runs, summary, tables, tradeoff, verdicts
from fitnets.reporting.figures.trade_off import trade_off
from support import made_store as made
from support.made_store import write_run


class TestIsNoBetter:
    @pytest.mark.parametrize(
        ("right", "of_one_class", "images"),
        [(100, 100, 300), (1, 1, 3), (7, 7, 49), (13, 13, 111), (9, 10, 100), (0, 1, 3)],
    )
    def test_fractions_of_the_same_images_are_equal_whatever_their_last_digits(self, right, of_one_class, images):
        for accuracy in (right / images, 1 - (images - right) / images):
            for commonest in (of_one_class / images, 1 - (images - of_one_class) / images):
                assert chance.is_no_better((accuracy, commonest, images))
                assert chance.is_no_better((accuracy, commonest, None))

    @pytest.mark.parametrize("images", [300, 10_000, 5_000_000])
    def test_one_image_more_is_better(self, images):
        third = images // 3 / images
        assert not chance.is_no_better((1 - (images - images // 3 - 1) / images, third, images))

    def test_images_of_several_runs_are_added(self):
        low, high = (0.30, 1 / 3, 300), (0.40, 1 / 3, 300)
        assert not chance.is_no_better(low, high)
        assert not chance.are_all_no_better([low, high])
        assert chance.are_all_no_better([low, (1 - 200 / 300, 1 / 3, 300)])

    def test_unknown_accuracies_count_as_better(self):
        assert not chance.is_no_better((0.1, None, 300))
        assert not chance.is_no_better((None, 0.1, 300))
        assert not chance.is_no_better()
        assert not chance.are_all_no_better([])


THIRD = 1 - 200 / 300
"""100 of 300 images, stored as 1 - error: as a float a bit more than 1 / 3"""
THREE = {"commonest_class": 1 / 3, "images": {"train": 900, "valid": 300, "test": 300}}


def at(accuracy: float, name: str = "thin", multiplications: int = 1000) -> dict:
    figures = made.side(name, 100 * accuracy, multiplications, 100)
    return figures | {"valid_accuracy": accuracy}


def test_the_table_after_a_run_has_a_note():
    shown = io.StringIO()
    result = {
        "method": "kd", "dataset": "digits", "stages": {}, **THREE,
        "teacher": at(0.9), "student": at(THIRD),
        "timing": {"latency": made.latency(1.0), "device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    assert THIRD > 1 / 3
    result_table.show(result, Terminal(Console(file=shown, width=120)))
    assert "note: the student is no better than always naming one class" in shown.getvalue()
    assert "the teacher is no better" not in shown.getvalue()


class TestVerdicts:
    def store(self, path: Path, **accuracies: list[float]) -> Path:
        for method, values in accuracies.items():
            for seed, accuracy in enumerate(values):
                write_run(path, f"{method}{seed}", method=method, student=at(accuracy), **THREE)
        return path

    def test_methods_at_chance_get_no_verdict(self, tmp_path):
        (comparison,) = verdicts.comparisons(runs.load(self.store(tmp_path, kd=[THIRD, 1 / 3], hints=[0.2, THIRD])))
        assert (comparison.valid, comparison.refusal) == (
            None, "neither has begun to learn: no network is better than always naming one class",
        )  # fmt: skip

    def test_a_verdict_names_the_method_at_chance(self, tmp_path):
        (comparison,) = verdicts.comparisons(runs.load(self.store(tmp_path, kd=[THIRD, 1 / 3], hints=[0.91, 0.92])))
        assert str(comparison).startswith("hints against kd: BETTER")
        assert "kd is no better than always naming one class" in str(comparison)
        assert "kd is no better" in summary.verdicts_by_setting([comparison])[0][1][0]["text"]

    def test_methods_above_chance_get_no_remark(self, tmp_path):
        (comparison,) = verdicts.comparisons(runs.load(self.store(tmp_path, kd=[0.5, 0.6], hints=[0.91, 0.92])))
        assert "one class" not in str(comparison)


class TestHeadlines:
    def lines(self, path: Path, teacher: float, *students: float) -> list[str]:
        for number, accuracy in enumerate(students):
            write_run(
                path, f"r{number}", **THREE, teacher=at(teacher, "big", 9000),
                student=at(accuracy, "thin", 1000 * (1 + number)), hashes=made.hashes(f"s{number}"),
            )  # fmt: skip
        return summary.headlines(runs.load(path))

    def test_the_headline_of_a_teacher_at_chance_says_so(self, tmp_path):
        (line,) = self.lines(tmp_path, THIRD, THIRD, 0.3)
        assert "teacher big (33.33 % on validation) is no better than always naming one class" in line
        assert "cheapest" not in line

    def test_a_student_at_chance_is_not_the_cheapest_close_one(self, tmp_path):
        (line,) = self.lines(tmp_path, 0.35, THIRD, 0.34)
        assert "34.00 % on validation against 35.00 %" in line

    def test_the_headline_says_if_all_students_are_at_chance(self, tmp_path):
        (line,) = self.lines(tmp_path, 0.9, THIRD, 0.3)
        assert line.endswith("none of its cheaper students is better than always naming one class.")

    def test_no_front_has_a_point_at_chance(self, tmp_path):
        self.lines(tmp_path, 0.9, THIRD, 0.8)
        frame = runs.load(tmp_path)
        points = tradeoff.points(frame)
        for cost in tradeoff.COSTS:
            assert points[tradeoff.fronts(points, cost)]["valid_accuracy"].tolist() == [0.8]
        assert "33.33" not in tables.document(frame, [])
        fronts = [point["front"] for point in page_data.collect(frame, runs.epochs(tmp_path))["points"]]
        assert [len(front) for front in fronts] == [0, len(tradeoff.COSTS)]

    def test_a_figure_and_a_table_without_any_student_on_the_front(self, tmp_path):
        self.lines(tmp_path, THIRD, THIRD)
        frame = runs.load(tmp_path)
        assert "No student is better than always naming one class." in tables.document(frame, [])
        labels = trade_off(frame).axes[0].get_legend_handles_labels()[1]
        assert "teacher big, quick, no better than one class" in labels


class TestNames:
    def configured(self, path: Path, name: str, *, dataset: dict, teacher: dict, **changes) -> None:
        directory = write_run(
            path, name, dataset=dataset["name"], teacher=made.side(teacher["name"], 99, 3_000_000, 9), **changes
        )
        (directory / "config.yaml").write_text(json.dumps({"dataset": dataset, "teacher": teacher}))

    def test_folders_are_shown_by_their_names(self, tmp_path):
        places = {"d0": "/a/photos", "d1": "/b/photos", "d2": "/c/birds"}
        for digest, path in places.items():
            self.configured(
                tmp_path, f"r{digest}", dataset={"name": "folder", "path": path}, teacher={"name": "big"},
                hashes=made.hashes(digest, data=digest),
            )  # fmt: skip
        seed = {"dataset": 1, "teacher": 0, "student": 0}  # a second split of the birds
        self.configured(
            tmp_path, "again", dataset={"name": "folder", "path": "/c/birds"}, teacher={"name": "big"},
            hashes=made.hashes("again", data="d3"), seeds=seed,
        )  # fmt: skip
        frame = runs.load(tmp_path)
        assert sorted(tradeoff.points(frame)["task"]) == ["a/photos", "b/photos", "birds", "birds (split 2)"]
        assert frame.set_index("run")["dataset"].unique().tolist() == ["folder"]
        headlines = summary.headlines(frame)
        assert [line.split(":")[0] for line in headlines] == tradeoff.teachers(frame)["task"].tolist()
        assert "a/photos" in controls.table(frame)

    def test_a_folder_named_like_a_data_set_of_the_paper_gets_none_of_its_points(self, tmp_path):
        self.configured(tmp_path, "r0", dataset={"name": "folder", "path": "/x/cifar10"}, teacher={"name": "big"})
        assert page_data.collect(runs.load(tmp_path), runs.epochs(tmp_path))["paper"] == []

    def test_custom_teachers_have_distinct_names(self, tmp_path):
        common = {"name": "nets.small", "target": "nets.small"}
        teachers = [
            common | {"weights": "/w/one.pt"}, common | {"weights": "/w/two.pt"},
            common | {"args": {"depth": 3}, "weights": "/w/two.pt"},
            common | {"name": "nets.big", "target": "nets.big"},
        ]  # fmt: skip
        for number, teacher in enumerate(teachers):
            hashes = made.hashes(f"s{number}", teacher=f"t{number}") | {"teacher_setting": f"setting {number}"}
            self.configured(tmp_path, f"r{number}", dataset={"name": "digits"}, teacher=teacher, hashes=hashes)
        assert sorted(tradeoff.teachers(runs.load(tmp_path))["name"]) == [
            "nets.big", "nets.small one.pt", "nets.small two.pt", "nets.small two.pt depth=3",
        ]  # fmt: skip

    def test_teachers_with_equal_names_are_shown_with_their_hash(self, tmp_path):
        for number in range(2):
            hashes = made.hashes(f"s{number}", teacher=f"t{number}") | {"teacher_setting": f"abcdef{number}"[::-1]}
            write_run(tmp_path, f"r{number}", hashes=hashes)
        assert sorted(tradeoff.teachers(runs.load(tmp_path))["name"]) == ["big [0fedcb]", "big [1fedcb]"]

    def test_custom_students_have_distinct_names(self, tmp_path):
        for number in range(2):
            directory = write_run(
                tmp_path, f"r{number}", student=made.side("nets.small", 90, 9, 9), hashes=made.hashes(f"s{number}")
            )
            student = {"name": "nets.small", "target": "nets.small", "args": {"depth": number}}
            (directory / "config.yaml").write_text(json.dumps({"student": student}))
        assert sorted(runs.students(runs.load(tmp_path))) == ["nets.small depth=0", "nets.small depth=1"]


class TestIntervals:
    @pytest.fixture
    def frame(self, tmp_path):
        for method, accuracies in {"kd": [99.9, 60.0, 70.0], "hints": [95.0, 95.1, 95.2]}.items():
            for seed, accuracy in enumerate(accuracies):
                student = made.side("thin", accuracy, 1000, 100)
                write_run(
                    tmp_path, f"{method}{seed}", method=method, student=student, hashes=made.hashes(method=method)
                )
        return runs.load(tmp_path)

    @pytest.mark.parametrize(
        ("mean", "half_width", "shown"),
        [
            (94.9, 0.98, "94.90 ± 0.98"), (93.0, 37.0, "93.00 (56.00 to 100.00)"), (1.0, 2.0, "1.00 (0.00 to 3.00)"),
            (50.0, 130.0, "50.00 (0.00 to 100.00)"), (98.0, 2.0, "98.00 ± 2.00"),
        ],
    )  # fmt: skip
    def test_an_interval_beyond_0_or_100_is_shown_by_its_ends(self, mean, half_width, shown):
        assert intervals.with_interval(mean, half_width) == shown

    def test_tables_say_that_an_interval_is_cut_off(self, frame):
        for text in (controls.table(frame), tables.document(frame, [])):
            assert intervals.CUT_OFF in text
            assert "to 100.00)" in text
            assert "95.10 ± 0.25" in text

    def test_tables_without_such_an_interval_have_no_remark(self, frame):
        assert intervals.CUT_OFF not in controls.table(frame[frame["method"] == "hints"])

    def test_error_bars_end_at_100(self, frame):
        for figure in (trade_off(frame), trade_off(frame, split="test")):
            ends = [
                y
                for container in figure.axes[0].containers
                for line in container.lines[2]
                for segment in line.get_segments()
                for _, y in segment
            ]
            assert ends
            assert max(ends) == pytest.approx(100)
            assert min(ends) >= 0
