"""`fitnets predict` prepares files like the network's data set and names every class.

An exported student records its preprocessing and class names."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from fitnets.composition import loading
from fitnets.data import image_files, preprocessing, splits
from fitnets.exporting import student
from fitnets.progress import Progress
from fitnets.store import earlier_runs
from support.datasets import all_images
from support.named_runs import CLASSES, forget, listing, picture, trained, write_folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("predicting")


@pytest.fixture(scope="module")
def run(home):
    write_folder(home / "own", each=20)
    return trained(home / "own", home / "store")


class TestPredict:
    def test_each_file_gets_its_class(self, fitnets, run, home, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        finished = fitnets("predict", run, home / "own" / "bee", home / "own" / "cow" / "03.png")
        assert finished.code == 0, finished.err
        *bees, cow = finished.out.splitlines()
        assert len(bees) == 20
        assert all(line.startswith(f"{home}/own/bee/{number:02}.png: bee ") for number, line in enumerate(bees))
        assert cow.startswith(f"{home}/own/cow/03.png: cow ")
        assert listing(tmp_path) == set()

    def test_folders_are_searched_to_any_depth(self, fitnets, run, home):
        report = json.loads(fitnets("predict", run, home / "own", "--json").out)
        is_right = [one["class"] in one["file"] for one in report["predictions"]]
        assert (len(is_right), all(is_right)) == (60, True)

    def test_the_most_probable_classes_come_first(self, fitnets, run, home):
        report = json.loads(fitnets("predict", run, home / "own" / "ant" / "00.png", "--top", "9", "--json").out)
        (prediction,) = report["predictions"]
        assert sorted(guess["name"] for guess in prediction["top"]) == list(CLASSES)
        probabilities = [guess["probability"] for guess in prediction["top"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1)
        assert (prediction["class"], prediction["probability"]) == (prediction["top"][0]["name"], probabilities[0])

    def test_broken_files_are_listed_after_the_predictions(self, fitnets, run, home, tmp_path):
        for name in ("cut.png", "Größe 图.jpg"):
            (tmp_path / name).write_bytes(b"\x89PNG and nothing")
        finished = fitnets("predict", run, tmp_path, tmp_path / "none.png", home / "own" / "cow" / "00.png")
        assert finished.code == 1
        assert ": cow " in finished.out
        assert finished.err.startswith("3 of 4 files cannot be decoded:")
        for name in ("cut.png", "Größe 图.jpg", "none.png"):
            assert f"{tmp_path}/{name} (" in finished.err
        as_json = fitnets("predict", run, tmp_path, "--json")
        assert (as_json.code, len(json.loads(as_json.out)["broken"])) == (1, 2)

    def test_many_broken_files_are_counted_in_few_lines(self, fitnets, run, tmp_path):
        for number in range(12):
            (tmp_path / f"{number:02}.png").write_bytes(b"")
        error = fitnets("predict", run, tmp_path).err
        assert (len(error.splitlines()), "and 8 more" in error) == (6, True)

    @pytest.mark.parametrize("words", [["empty"], ["empty", "engine.device=cpu"]])
    def test_a_folder_without_images_is_refused(self, fitnets, run, tmp_path, monkeypatch, words):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        finished = fitnets("predict", run, *words)
        assert (finished.code, finished.err) == (1, "no image in empty: give image files, or folders of them\n")

    def test_files_get_the_same_pixels_as_training_images(self, run, home, tmp_path):
        """Compares a photo that its EXIF tag turns by 90 degrees, read as a file and as a training image."""
        place = write_folder(tmp_path / "other", each=3) / "ant" / "00.jpg"
        turned = Image.Exif()
        turned[0x0112] = 6
        picture(1, 0).resize((30, 20)).convert("RGB").save(place, exif=turned)
        dataset = loading.adapted(
            earlier_runs.find_network(str(run), "").config.dataset, "dataset", [f"dataset.path={place.parents[1]}"]
        )
        loaded = splits.load_all(dataset, tmp_path / "store", torch.device("cpu"), _Silent(), _fitted(run))
        alone = preprocessing.apply(
            dataset.preprocessing,
            _fitted(run),
            torch.from_numpy(np.stack([image_files.pixels(dataset, place)])).float() / 255,
        )
        assert torch.equal(all_images(loaded)[0], alone[0])

    def test_a_network_of_digits_takes_photos_and_reports_how_they_are_scaled(self, fitnets, earlier_run, tmp_path):
        Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(tmp_path / "photo.png")
        finished = fitnets("predict", earlier_run, tmp_path / "photo.png", "--top", "2")
        assert finished.code == 0, finished.err
        assert "pixels are scaled from 0..255 to 0..16" in finished.out
        assert "just covers 8x8 pixels" in finished.out

    def test_classes_without_names_are_shown_by_their_numbers(self, fitnets, run, home, tmp_path):
        old = shutil.copytree(run, tmp_path / "old")
        result = json.loads((old / "result.json").read_text())
        (old / "result.json").write_text(json.dumps(result | {"classes": None}))
        finished = fitnets("predict", old, home / "own" / "cow" / "00.png")
        assert ": class 2 " in finished.out
        assert "note: the network's class names are unknown: classes have their numbers" in finished.out


class _Silent(Progress):
    def track(self, items, what):
        return items

    def say(self, text):
        pass


def _fitted(run):
    return preprocessing.from_json(json.loads((run / "result.json").read_text())["fitted"])


@pytest.fixture(scope="module")
def exported(home, run):
    """The export of a run whose images have been moved away, made from an empty folder."""
    import sys

    from fitnets import cli

    here = home / "here"
    here.mkdir()
    (home / "own").rename(home / "gone")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(sys, "argv", ["fitnets", "export", str(run)])
        assert cli.main() == 0
    (home / "gone").rename(home / "own")
    assert listing(here) == set()
    return run / "export"


class TestExport:
    def test_a_run_without_its_images_keeps_its_class_names(self, exported):
        export = json.loads((exported / "export.json").read_text())
        assert export["classes"] == list(CLASSES)
        assert "no such folder" in export["images"]["missing"]
        assert max(export["difference"].values()) < 1e-4
        card = (exported / "card.md").read_text()
        assert "Classes: ant, bee, cow." in card
        assert "The files were checked only on random images: " in card

    def test_card_and_file_say_how_images_were_resized(self, exported):
        props = {prop.key: prop.value for prop in onnx.load(exported / "student.onnx").metadata_props}
        assert props["classes"].split("\n") == list(CLASSES)
        for text in (props["resizing"], (exported / "card.md").read_text()):
            for word in ("EXIF", "grey", "shorter side", "8x8 pixels", "bicubic", "cropped at the centre"):
                assert word in text

    def test_int8_export_without_images_is_refused(self, fitnets, home, tmp_path):
        (own,) = (home / "store" / "run").iterdir()
        run = shutil.copytree(own, tmp_path / "copied")
        before = listing(tmp_path)
        (home / "own").rename(home / "gone")
        finished = fitnets("export", run, "--int8", "--out", tmp_path / "files")
        (home / "gone").rename(home / "own")
        assert (finished.code, "--int8 is calibrated on training images" in finished.err) == (1, True)
        assert listing(tmp_path) == before

    def test_images_of_renamed_classes_are_not_used(self, home, run, tmp_path):
        network = earlier_runs.find_network(str(run), "")
        shutil.copytree(home / "own", tmp_path / "own")
        (tmp_path / "own" / "cow").rename(tmp_path / "own" / "0")
        dataset = loading.adapted(network.config.dataset, "dataset", [f"dataset.path={tmp_path / 'own'}"])
        renamed = replace(network, config=replace(network.config, dataset=dataset))
        images = student._images(renamed, list(CLASSES), tmp_path / "store", _Silent(), _fitted(run))
        assert "has the classes 0, ant, bee now" in images.missing

    @pytest.mark.parametrize("name", ["a\nb", "a, b", "naïve", "\udcff"])
    def test_every_name_takes_one_line_of_the_metadata(self, name):
        config = loading.load(["dataset=digits"])
        names = [name, *map(str, range(1, 10))]
        classes = student._props(config.dataset, names)["classes"]
        assert len(classes.split("\n")) == 10
        classes.encode()


def test_predicting_with_an_earlier_run_without_its_images_is_an_error(fitnets, home, run, tmp_path):
    old = shutil.copytree(run, tmp_path / "old")
    forget(old, "classes", "fitted")
    (home / "own").rename(home / "gone")
    finished = fitnets("predict", old, home / "gone" / "ant" / "00.png")
    (home / "gone").rename(home / "own")
    assert finished.code == 1
    assert "no such folder" in finished.err
