"""The class names of stored teachers are compared with those of the data; notes on classes come before training."""

import json
import shutil

import pytest

from fitnets.composition import loading
from fitnets.data import class_balance, class_names
from fitnets.errors import ConfigError
from fitnets.planning import estimates
from support.named_runs import CLASSES, WORDS, forget, trained, write_folder, write_table

STUDENT = [word for word in WORDS if not word.startswith("teacher.")] + ["dataset/preprocessing=scale"]
TABLE = ["dataset=mnist", "dataset.height=8", "dataset.width=8", "dataset.validation_images=6"]
SHORT = [word for word in WORDS if not word.startswith("dataset")] + TABLE


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def run(home):
    write_folder(home / "own")
    return trained(home / "own", home / "store", "dataset/preprocessing=scale", "schedule.student.epochs=1")


@pytest.fixture(scope="module")
def renamed(home):
    write_folder(home / "renamed", ("ant", "bee", "zebra"))
    return trained(home / "renamed", home / "store", "dataset/preprocessing=scale", "schedule.student.epochs=1")


def ensemble(*runs):
    return ["teacher=ensemble", f"teacher.members=[{','.join(map(str, runs))}]", f"teacher.hint_member={runs[0]}"]


@pytest.mark.parametrize("names", [("0", "ant", "bee"), ("ant", "bee", "elk")])
def test_a_teacher_of_other_classes_is_refused(command, run, tmp_path, names):
    root = write_folder(tmp_path / "other", names)
    finished = command(*STUDENT, f"dataset.path={root}", "teacher=run", f"teacher.path={run}")
    assert finished.code == 1
    listed = ", ".join(names)
    assert (
        f"teacher.path={run}: that network was trained on the classes ant, bee, cow, and dataset=folder has {listed}"
        in (finished.err)
    )
    assert not list((tmp_path / "store").glob("run/*"))


def test_a_teacher_of_the_same_classes_in_another_order_is_refused(command, run, tmp_path):
    for split in ("train", "test"):
        write_table(tmp_path / "table", split, [0, 1, 2] * 6, ["cow", "bee", "ant"], [2, 1, 0])
    words = [word for word in SHORT if not word.startswith("teacher.")]
    finished = command(
        *words, "dataset.classes=3", f"dataset.path={tmp_path / 'table'}", "teacher=run", f"teacher.path={run}",
        "dataset/preprocessing=scale",
    )  # fmt: skip
    assert (finished.code, "has cow, bee, ant: give a teacher" in finished.err) == (1, True), finished.err


def test_members_of_an_ensemble_are_compared(command, home, run, renamed):
    words = [*STUDENT, f"dataset.path={home / 'own'}", *ensemble(run, renamed)]
    finished = command(*words)
    assert finished.code == 1
    assert f"teacher.members: {renamed}: that network was trained on the classes ant, bee, zebra" in finished.err


def test_members_are_compared_where_the_data_name_no_classes(command, run, renamed, tmp_path):
    for split in ("train", "test"):
        write_table(tmp_path / "table", split, [0, 1, 2] * 6, None, [0, 1, 2])
    words = [word for word in SHORT if not word.startswith("teacher.")]
    data = ["dataset.classes=3", f"dataset.path={tmp_path / 'table'}", "dataset/preprocessing=scale"]
    refused = command(*words, *data, *ensemble(run, renamed))
    assert (refused.code, f"the network of {run} has ant, bee, cow" in refused.err) == (1, True), refused.err
    finished = command(*words, *data, "teacher=run", f"teacher.path={run}")
    assert finished.code == 0, finished.err
    assert "its classes are compared with this data set's by number, because this data set names none" in finished.out


def test_a_teacher_of_an_earlier_version_gets_a_note_on_its_class_names(command, run, home, tmp_path):
    old = shutil.copytree(run, tmp_path / "old")
    forget(old, "classes")
    finished = command(*STUDENT, f"dataset.path={home / 'own'}", "teacher=run", f"teacher.path={old}")
    assert finished.code == 0, finished.err
    assert "was written by an earlier version: its class names are read from its data as they are now" in finished.out


class TestNumberOfClassNames:
    @pytest.mark.parametrize("count", [2, 5])
    def test_equals_the_number_of_logits(self, command, fitnets, tmp_path, count):
        names = [f"c{label}" for label in range(count)]
        for split in ("train", "test"):
            write_table(tmp_path / "table", split, [0, 1, 2] * 6, names, [0, 1, 2])
        finished = command(*SHORT, "dataset.classes=3", f"dataset.path={tmp_path / 'table'}")
        assert finished.code == 0, finished.err
        assert ("names" in finished.out and "dataset.classes=3" in finished.out) == (count != 3)
        (run,) = (tmp_path / "store" / "run").iterdir()
        expected = {2: ["c0", "c1", "2"], 3: ["c0", "c1", "c2"], 5: ["c0", "c1", "c2"]}[count]
        assert json.loads((run / "result.json").read_text())["classes"] == expected
        evaluation = json.loads(fitnets("eval", run, "--json").out)
        assert (evaluation["classes"], len(evaluation["class_images"])) == (expected, 3)

    def test_splits_with_different_names_are_refused(self, tmp_path):
        write_table(tmp_path / "table", "train", [0, 1], ["a", "b"], [0, 1])
        write_table(tmp_path / "table", "test", [0, 1], ["b", "a"], [0, 1])
        config = loading.load([*TABLE, "dataset.classes=2", f"dataset.path={tmp_path / 'table'}"])
        with pytest.raises(ConfigError, match="names the classes a, b, ... and test-00000-of-00001.parquet b, a"):
            class_names.of_data(config.dataset)


class TestNotes:
    def test_a_run_and_doctor_name_classes_without_images(self, command, fitnets, tmp_path, monkeypatch):
        monkeypatch.setattr(estimates, "THOROUGH_S", 0.05)
        write_table(tmp_path / "table", "train", [0] * 12 + [1] * 12 + [2] * 8, list(CLASSES), [0, 1, 2])
        write_table(tmp_path / "table", "test", [0, 1, 2], list(CLASSES), [0, 1, 2])
        words = [*SHORT, "dataset.classes=3", f"dataset.path={tmp_path / 'table'}"]
        finished = command(*words)
        note = "valid: no image of ant, bee: these classes are neither learnt nor measured there"
        assert f"note     {note}" in finished.out, finished.err
        assert finished.out.index(note) < finished.out.index("teacher epoch")
        assert note in json.loads(fitnets("doctor", *words, f"store={tmp_path / 'd'}", "--json").out)["warnings"]

    def test_a_class_with_few_images_gets_a_note_beside_one_without_any(self):
        notes = list(class_balance.class_notes(["a", "b", "c"], {"train": [0, 50, 5], "valid": [1, 1, 1]}))
        assert notes[0].startswith("train: no image of a: ")
        assert notes[1].startswith("b has 50 training images and c 5: ")

    def test_many_empty_classes_are_counted(self):
        names = [str(label) for label in range(30)]
        (note,) = class_balance.class_notes(names, {"train": [3] * 30, "test": [0] * 29 + [1]})
        assert note.startswith("test: no image of 0, 1, 2, 3, 4, ... (29 classes): ")
