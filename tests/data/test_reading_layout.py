"""A folder of images: which splits, classes and files are used, and which are left out with a note."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fitnets.composition import loading
from fitnets.data import unread
from fitnets.data.reading import folder_layout
from fitnets.errors import ConfigError
from fitnets.store import ownership
from support.made_files import BRIEF, folder, of_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "images"


def splits(root: Path, *names: str, classes: str = "abc") -> Path:
    for name in names:
        folder(root / name, classes)
    return root


class TestSplits:
    @pytest.mark.parametrize(
        "names", [("train", "val", "test"), ("Train", "valid", "TEST"), ("training", "validation", "testing")]
    )
    def test_folders_of_class_folders_are_the_splits(self, root, names):
        splits(root, *names)
        for name in names:  # images beside the class folders
            shutil.copy(root / name / "a" / "0.png", root / name)
        summary = of_folder(root)
        assert summary[:3] == (12, 12, 12)
        assert (
            f"{names[0]}/ (12 images), {names[1]}/ (12 images) and {names[2]}/ (12 images) are the splits"
            in summary.notes
        )
        assert "dataset.validation_share and test_share are not used" in summary.notes
        assert "left out: 3 images outside the class folders" in summary.notes
        assert not (root / "split.json").exists()

    def test_labels_come_from_class_names_not_from_their_positions(self, root):
        splits(root, "train", "val")
        folder(root / "test", "bc")
        config = loading.load(["dataset=folder", f"dataset.path={root}"])
        assert (config.dataset.classes, of_folder(root).test) == (3, 8)

    def test_train_and_val_alone_give_no_test_figures(self, root):
        summary = of_folder(splits(root, "train", "val"))
        assert summary[:3] == (12, 12, None)
        assert "there are no test figures" in summary.notes

    def test_train_and_test_alone_draw_validation_from_train(self, root):
        summary = of_folder(splits(root, "train", "test"))
        assert summary[:3] == (9, 3, 12)
        assert "validation images are drawn from train/" in summary.notes
        assert of_folder(root).digest == summary.digest
        assert of_folder(root, "dataset.validation_share=0.5")[:3] == (6, 6, 12)

    def test_test_images_without_class_folders_are_no_split(self, root):
        splits(root, "train", "val")
        shutil.copytree(root / "train" / "a", root / "test")
        summary = of_folder(root)
        assert summary[:3] == (12, 12, None)
        assert "left out: 4 images in test/, which has no class folders (test/0.png" in summary.notes

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (("val", "test"), r"test/ and val/ hold class folders, and there is no train/ beside them"),
            (("train", "val", "valid"), r"val/ and valid/ are both the validation split"),
            (("train", "Train"), r"Train/ and train/ are both the train split"),
        ],
    )
    def test_conflicting_splits_are_refused(self, root, names, message):
        with pytest.raises(ConfigError, match=message):
            of_folder(splits(root, *names))

    @pytest.mark.parametrize(("change", "hint"), [("A", r"; did you mean a\?"), ("dog", "")])
    def test_a_class_missing_from_train_is_refused(self, root, change, hint):
        splits(root, "train", "val")
        (root / "val" / "a").rename(root / "val" / change)
        with pytest.raises(
            ConfigError, match=rf"val/ has images of {change}, and train/ has no such class{hint} \(classes: a"
        ):
            of_folder(root)

    def test_a_class_called_train_stays_a_class(self, root):
        folder(root, "bus,car,train")
        (root / "train" / "steam").mkdir()
        shutil.copy(root / "train" / "0.png", root / "train" / "steam")
        summary = of_folder(root)
        assert summary[:3] == (6, 3, 3)
        assert "left out: 1 file in sub-folders of class folders (train/steam/0.png)" in summary.notes

    def test_class_folders_beside_a_train_folder_are_refused(self, root):
        splits(folder(root, "ab"), "train")
        with pytest.raises(
            ConfigError, match=r"train/ holds class folders, and a and b beside it hold images: give dataset.p"
        ):
            of_folder(root)

    def test_splits_without_class_folders_are_refused(self, root):
        with pytest.raises(
            ConfigError, match="no class folders in test/ and train/: put the images of each class into"
        ):
            of_folder(folder(root, "train,test"))

    def test_a_split_file_is_refused_beside_splits(self, root):
        with pytest.raises(ConfigError, match="has splits of its own, and none is read or drawn: leave the key out"):
            of_folder(splits(root, "train", "val"), "dataset.split_file=mine.json")

    def test_the_drawn_split_of_class_folders_is_unchanged(self, root):
        assert of_folder(folder(root)) == (6, 3, 3, "", "b08d889b9fac1af2")
        assert json.loads((root / "split.json").read_text())["test"] == ["a/1.png", "b/2.png", "c/2.png"]

    def test_a_missing_folder_counts_as_one_with_a_test_split(self, root):
        config = loading.load(["dataset=folder", f"dataset.path={splits(root, 'train', 'val')}"])
        assert not unread.has_test_split(config.dataset)
        shutil.rmtree(root)
        assert unread.has_test_split(config.dataset)


class TestLeftOut:
    def test_files_that_are_no_images_of_a_class_are_counted_in_the_notes(self, root):
        folder(root)
        (root / "a" / "more" / "deep").mkdir(parents=True)
        (root / "a" / "more" / "deep" / "x.png").touch()
        for name in (
            "a/x.heic",
            "a/Y.HEIC",
            "b/notes.pdf",
            "b/plain",
            "c/.hidden.png",
            "c/clip.mp4",
            "loose.jpg",
        ):
            (root / name).touch()
        summary = of_folder(root)
        assert summary[:3] == (6, 3, 3)
        for note in (
            "1 file in sub-folders of class folders (a/more/deep/x.png)",
            "2 .heic files (a/Y.HEIC, a/x.heic): PNG and JPEG are read",
            "1 .pdf file (b/notes.pdf)",
            "1 file without a suffix (b/plain)",
            "1 hidden or system file (c/.hidden.png)",
            "1 .mp4 file (c/clip.mp4)",
            "1 image outside the class folders (loose.jpg)",
        ):
            assert f"left out: {note}" in summary.notes, summary.notes

    @pytest.mark.parametrize("name", ["__MACOSX", ".ipynb_checkpoints", "@eaDir", "lost+found", ".git"])
    def test_system_folders_are_no_classes(self, root, name):
        folder(root)
        shutil.copytree(root / "a", root / name)
        summary = of_folder(root)
        assert summary[:3] == (6, 3, 3)
        assert f"left out: 1 system folder ({name}/)" in summary.notes

    @pytest.mark.parametrize("place", ["outputs", "outputs/here"])
    def test_the_store_is_no_class(self, root, place):
        folder(root)
        (root / place).mkdir(parents=True)
        words = ["dataset=folder", f"dataset.path={root}", f"store={root / place}"]
        assert loading.load(words).dataset.classes == 3  # the store is not counted, although it is new and empty
        ownership.mark(root / place)
        assert "left out: 1 folder of results (store) (outputs/)" in of_folder(root).notes

    def test_the_error_for_a_class_without_images_lists_its_other_files(self, root):
        folder(root)
        for path in (root / "b").iterdir():
            path.rename(path.with_suffix(".heic"))
        with pytest.raises(
            ConfigError, match=r"no image in the class folder b \(it holds 4 \.heic files\): add some, or put"
        ):
            of_folder(root)

    def test_a_broken_link_in_place_of_a_class_folder_is_refused(self, root):
        os.symlink("/nowhere/d", folder(root) / "d")
        with pytest.raises(ConfigError, match="d is a broken link to /nowhere/d: correct it, or put it outside"):
            of_folder(root)

    def test_a_class_folder_may_be_a_link(self, root, tmp_path):
        folder(root)
        (root / "c").rename(tmp_path / "elsewhere")
        os.symlink(tmp_path / "elsewhere", root / "c")
        assert of_folder(root)[:3] == (6, 3, 3)

    def test_no_message_advises_removing_files(self):
        for module in ("folder_layout", "folder", "decoding", "shards", "parquet"):
            text = (Path(folder_layout.__file__).parent / f"{module}.py").read_text()
            assert not re.search(r"\b(remove|delete)\b", text)


def test_numbered_classes_are_sorted_as_text_with_a_note(root):
    assert folder_layout.text_order_note(["0", "1", "10", "2"]) == (
        "classes are sorted as text, as in torchvision: 10 comes before 2, and 2 has label 3"
    )
    for names in (["0", "1", "2"], ["00", "01", "10"], ["1", "9", "10", "x"], ["10 km", "2 km"], ["a", "b"]):
        assert folder_layout.text_order_note(names) is None
    assert "100 comes before 20" in of_folder(folder(root, "100,20,9")).notes


def test_plan_and_doctor_give_the_same_notes(command, fitnets, root, tmp_path):
    folder(splits(root, "train", "val"), "x")  # a folder beside the splits
    shutil.rmtree(root / "x")
    folder(root / "train", "10,9")
    words = ["dataset=folder", f"dataset.path={root}", *BRIEF]
    ran, examined = command(*words), fitnets("doctor", *words, f"store={tmp_path / 'store'}", "--json")
    assert ran.code == examined.code == 0, ran.err + examined.err
    warnings = json.loads(examined.out)["warnings"]
    for note in ("are the splits", "there are no test figures", "10 comes before 9"):
        assert note in ran.out
        assert any(note in warning for warning in warnings)
    assert "test     none" in ran.out
    assert not (root / "split.json").exists()


def test_images_that_pillow_only_writes_are_left_out(root):
    folder(root)
    Image.new("RGB", (8, 8)).save(root / "a" / "page.pdf")
    (root / "a" / "drawing.eps").write_text("%!PS")
    notes = of_folder(root).notes
    assert "1 .pdf file" in notes
    assert "1 .eps file" in notes
