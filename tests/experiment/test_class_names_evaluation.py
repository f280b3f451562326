"""Class names are stored with a run; `fitnets eval` matches data to them by name and writes nothing into the data."""

import json
import shutil
import unicodedata

import pytest
import torch

from fitnets.experiment import evaluation
from support.named_runs import CLASSES, forget, listing, trained, write_folder, write_table


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with `own`, the images of a run, and `store`."""
    root = tmp_path_factory.mktemp("named")
    write_folder(root / "own", each=20)
    return root


@pytest.fixture(scope="module")
def run(home):
    return trained(home / "own", home / "store")


@pytest.fixture
def evaluate(fitnets, run):
    """Returns a function that runs `fitnets eval` and returns its JSON, or its error if it fails."""

    def call(*words, of=run):
        finished = fitnets("eval", of, *words, "--json")
        return json.loads(finished.out) if finished.code == 0 else finished.err

    return call


def test_runs_and_teachers_store_their_class_names(run, home):
    (teacher,) = (home / "store" / "teacher").iterdir()
    for path in (run / "result.json", teacher / "teacher.json"):
        assert json.loads(path.read_text())["classes"] == list(CLASSES)


@pytest.mark.parametrize("names", [("0", "ant", "bee"), ("ant", "bee", "yak"), ("Ant", "bee", "cow"), ("ant", "zoo")])
def test_a_class_that_the_network_does_not_have_is_refused_by_name(evaluate, tmp_path, names):
    write_folder(tmp_path / "other", names, each=2)
    error = evaluate(f"dataset.path={tmp_path / 'other'}")
    (unknown,) = set(names) - set(CLASSES)
    assert f"the network does not know the classes {unknown}: it was trained on ant, bee, cow" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(("names", "labels"), [(("ant", "cow"), [0, 2]), (("cow",), [2]), (CLASSES, [0, 1, 2])])
def test_all_images_of_other_data_are_evaluated_and_nothing_is_written(evaluate, tmp_path, monkeypatch, names, labels):
    words = ["dataset=folder"] if len(names) < 3 else []
    root = write_folder(tmp_path / "other", names, each=1, labels=labels)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = listing(tmp_path)
    report = evaluate(*words, f"dataset.path={root}")
    assert listing(tmp_path) == before
    assert (report["split"], report["images"]) == ("all", len(names))
    assert [report["class_images"][label] for label in range(3)] == [int(label in labels) for label in range(3)]
    assert report["accuracy"] == 1
    note_on_missing = "without " + ", ".join(name for name in CLASSES if name not in names)
    assert any(note_on_missing in note for note in report["notes"]) == (len(names) < 3)


def test_a_class_without_images_has_no_accuracy(fitnets, evaluate, run, tmp_path):
    root = write_folder(tmp_path / "other", ("ant", "cow"), labels=[0, 2])
    (root / "bee").mkdir()
    report = evaluate(f"dataset.path={root}")
    assert report["class_accuracy"][1] is None
    assert report["confusion"][1] == [0, 0, 0]
    shown = fitnets("eval", run, f"dataset.path={root}").out
    (row,) = (line for line in shown.splitlines() if line.startswith("│ bee "))
    assert row.replace("│", " ").split() == ["bee", "0", "-"]


def test_classes_in_another_order_are_matched_by_name(evaluate, tmp_path):
    """In this table label 0 is cow, so that every image would be wrong if labels were compared by numbers."""
    shown = [2, 0, 1]
    write_table(tmp_path / "table", "test", [0, 1, 2] * 4, ["cow", "ant", "bee"], shown)
    words = ["dataset=mnist", f"dataset.path={tmp_path / 'table'}", "dataset.classes=3"]
    report = evaluate(*words, "dataset.height=8", "dataset.width=8")
    assert (report["accuracy"], report["class_images"]) == (1, [4, 4, 4])
    assert any("another order" in note for note in report["notes"])


@pytest.mark.parametrize(("names", "split", "count"), [(None, None, 18), (list(CLASSES), None, 18), (None, "test", 6)])
def test_a_table_is_evaluated_whole_or_on_the_requested_split(evaluate, tmp_path, names, split, count):
    for part, labels in (("train", [0, 1, 2] * 4), ("test", [0, 1, 2] * 2)):
        write_table(tmp_path / "table", part, labels, names, [0, 1, 2])
    words = ["dataset=mnist", f"dataset.path={tmp_path / 'table'}", "dataset.classes=3"]
    report = evaluate(*words, "dataset.height=8", "dataset.width=8", *(["--split", split] if split else []))
    assert report["images"] == count
    note = "the data's class names are unknown: labels are compared by their numbers"
    assert (note in report["notes"]) == (names is None)


def test_composed_and_decomposed_letters_are_equal(tmp_path):
    from fitnets.data import class_names

    composed, decomposed = (unicodedata.normalize(form, "Äpfel") for form in ("NFC", "NFD"))
    assert class_names.labels_in(["x", composed], [decomposed]) == [1]
    assert class_names.are_equal([composed], [decomposed])


class TestDataOfTheRun:
    def test_is_evaluated_on_its_test_split(self, evaluate, run):
        result = json.loads((run / "result.json").read_text())
        report = evaluate()
        assert (report["split"], report["images"]) == ("test", result["images"]["test"])
        assert report["accuracy"] == pytest.approx(result["student"]["test_accuracy"])
        assert report["notes"] == []

    def test_is_recognised_after_it_was_moved(self, evaluate, home, tmp_path):
        shutil.copytree(home / "own", tmp_path / "moved")
        assert evaluate(f"dataset.path={tmp_path / 'moved'}") == evaluate()

    def test_a_saved_split_of_other_data_can_be_chosen(self, evaluate, home, tmp_path):
        shutil.copytree(home / "own", tmp_path / "moved")
        assert evaluate(f"dataset.path={tmp_path / 'moved'}", "--split", "train")["images"] == 42
        (tmp_path / "moved" / "split.json").unlink()
        assert "has no saved split: leave --split out" in evaluate(
            f"dataset.path={tmp_path / 'moved'}", "--split", "test"
        )
        assert not (tmp_path / "moved" / "split.json").exists()


class TestEarlierVersions:
    def test_take_the_names_of_their_data_with_a_note(self, evaluate, run, home, tmp_path):
        old = shutil.copytree(run, tmp_path / "run" / "old")
        forget(old, "classes", "fitted")
        root = write_folder(tmp_path / "other", ("ant", "cow"), labels=[0, 2])
        report = evaluate(f"dataset.path={root}", of=old)
        assert report["accuracy"] == 1
        assert any(
            "was written by an earlier version: its class names are read from its data as they are now" in note
            for note in report["notes"]
        )

    def test_without_names_are_compared_by_numbers_with_a_note(self, evaluate, home, tmp_path):
        own = write_folder(tmp_path / "own")
        old = trained(own, tmp_path / "store", "dataset/preprocessing=scale", "schedule.student.epochs=1")
        forget(old, "classes", "fitted")
        own.rename(tmp_path / "gone")
        root = write_folder(tmp_path / "other", ("x", "y", "z"))
        notes = evaluate(f"dataset.path={root}", of=old)["notes"]
        assert any("does not record its class names" in note for note in notes)
        assert any("labels are compared by their numbers" in note for note in notes)


def test_figures_of_each_class():
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 9, 0], [9, 0, 0]])
    report = evaluation.by_class(logits, torch.tensor([0, 0, 1, 0]))
    assert report["class_images"] == [3, 1, 0]
    assert report["class_accuracy"] == [pytest.approx(2 / 3), 1, None]
    assert report["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
