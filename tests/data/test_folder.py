"""`dataset=folder`: class folders with images of any size, and their split."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fitnets.composition import loading
from fitnets.config.options import content_hash
from fitnets.data import splits
from fitnets.data.reading import folder
from fitnets.errors import ConfigError
from support.datasets import CPU, SILENCE, in_silence, write_images
from support.runs import runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


def dataset(root: Path, *words: str):
    return loading.load(["dataset=folder", f"dataset.path={root}", "dataset.classes=3", *words]).dataset


def parts(root: Path) -> dict:
    return {part: set(json.loads((root / "split.json").read_text())[part]) for part in ("train", "validation", "test")}


def test_images_of_any_size_and_format_become_one_size(root, tmp_path):
    data = splits.load(dataset(root), tmp_path / "store", CPU, SILENCE)
    test = splits.load_test(dataset(root), tmp_path / "store", CPU, SILENCE)
    assert data.train.images.shape[1:] == (3, 32, 32)
    assert (len(data.train), len(data.valid), len(test)) == (42, 9, 9)
    grey = splits.load(dataset(root, "dataset.channels=1", "dataset.height=20"), tmp_path / "store", CPU, SILENCE)
    assert grey.train.images.shape[1:] == (1, 20, 32)


def test_the_label_is_the_class_folder(root, tmp_path):
    scale = dataset(root, "dataset/preprocessing=scale")
    data = splits.load(scale, tmp_path / "store", CPU, SILENCE)
    for split in (data.train, data.valid):
        brightness = 255 * split.images[split.rows].mean(dim=(1, 2, 3))
        assert torch.equal(((brightness - 25) / 70).long(), split.labels[split.rows])


def test_an_image_is_resized_and_cropped_at_its_centre(root, tmp_path):
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 255  # the square in the middle
    Image.fromarray(pixels).save(root / "cat" / "wide.png")
    images, labels = folder.decode(dataset(root), ["cat/wide.png"], in_silence).raw
    assert (images.shape, labels.tolist()) == ((1, 3, 32, 32), [0])
    assert images[0, :, 2:-2, 2:-2].min() > 240


class TestSplit:
    def test_a_drawn_split_is_even_and_saved_and_stays(self, root, tmp_path):
        splits.load(dataset(root), tmp_path / "store", CPU, SILENCE)
        drawn = parts(root)
        assert [len(names) for names in drawn.values()] == [42, 9, 9]
        for names in drawn.values():
            assert len({name.split("/")[0] for name in names}) == 3
        assert not drawn["train"] & drawn["validation"]
        splits.load(dataset(root, "dataset.seed=1"), tmp_path / "store", CPU, SILENCE)
        assert parts(root) == drawn

    def test_every_class_is_in_every_part_however_few_its_images(self, tmp_path):
        root = write_images(tmp_path / "images", classes=("cat", "dog"), each=40)
        for each, shares in ((3, (0.15, 0.15)), (3, (0.6, 0.3)), (4, (0.45, 0.45)), (7, (0.01, 0.01))):
            (root / "owl").mkdir(exist_ok=True)
            for index in range(each):
                Image.new("L", (20, 20)).save(root / "owl" / f"{index}.png")
            words = [f"dataset.validation_share={shares[0]}", f"dataset.test_share={shares[1]}"]
            settings = dataset(root, *words, f"dataset.split_file={tmp_path / f'{each}-{shares[0]}.json'}")
            for names in folder.images_by_part(settings).values():
                assert {name.split("/")[0] for name in names} == {"cat", "dog", "owl"}

    def test_other_shares_than_those_of_the_saved_split_are_refused(self, root):
        folder.images_by_part(dataset(root))
        with pytest.raises(ConfigError, match=r"dataset.test_share=0.3: the split in .*split.json was drawn with 0.15"):
            folder.images_by_part(dataset(root, "dataset.test_share=0.3"))

    def test_shares_are_in_no_hash(self, root):
        hashes = [content_hash(dataset(root, f"dataset.test_share={share}")) for share in (0.15, 0.3)]
        assert hashes[0] == hashes[1]

    @pytest.mark.parametrize(
        "content", ["no JSON", "[1, 2]", '{"train": ["a"]}', '{"train": 3, "validation": 3, "test": 3}']
    )
    def test_a_file_that_holds_no_split_is_refused(self, root, content):
        (root / "split.json").write_text(content)
        with pytest.raises(ConfigError, match=r"split.json is no split, a JSON object with lists train"):
            folder.images_by_part(dataset(root))

    def test_a_drawn_split_depends_on_the_seed_alone(self, root, tmp_path):
        drawn = []
        for seed in (0, 0, 1):
            settings = dataset(root, f"dataset.seed={seed}", f"dataset.split_file={tmp_path / f'{len(drawn)}.json'}")
            drawn.append(folder.images_by_part(settings)["test"])
        assert drawn[0] == drawn[1]
        assert drawn[0] != drawn[2]
        assert not (root / "split.json").exists()

    def test_a_user_s_split_file_is_used(self, root, tmp_path):
        images = sorted(str(path.relative_to(root)) for path in root.glob("*/*") if path.suffix != ".txt")
        split = {"train": images[2:], "validation": images[:1], "test": images[1:2]}
        (tmp_path / "mine.json").write_text(json.dumps(split))
        assert folder.images_by_part(dataset(root, f"dataset.split_file={tmp_path / 'mine.json'}")) == split

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda root: Image.new("L", (9, 9)).save(root / "cat" / "new.png"),
                "1 images are in the folder and not in",
            ),
            (
                lambda root: (root / "cat" / "0a.png").unlink(),
                "1 images are in the split and not in the folder, cat/0a",
            ),
        ],
    )
    def test_added_and_missing_images_are_refused(self, root, change, message):
        folder.images_by_part(dataset(root))
        change(root)
        with pytest.raises(ConfigError, match=message):
            folder.images_by_part(dataset(root))


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (
                "dataset.path=/no/such",
                "dataset.path=/no/such: no such folder: give one with a sub-folder for each class",
            ),
            ("dataset.classes=4", r"has 3 class folders \(cat, dog, owl\): give dataset.classes=3"),
            ("dataset.split_file=/proc/none/split.json", "cannot write the split to /proc/none/split.json"),
            ("dataset.validation_share=0.5 dataset.test_share=0.45", "leave less than a tenth to train on"),
        ],
    )
    def test_wrong_settings_are_refused_with_the_way_out(self, command, root, words, message):
        finished = command(
            "dataset=folder", f"dataset.path={root}", "dataset.classes=3", *words.split(), "tracker=none"
        )
        assert finished.code == 1
        import re

        assert re.search(message, finished.err), finished.err
        assert len(finished.err.splitlines()) <= 3

    def test_a_file_that_is_no_image_is_named(self, root, tmp_path):
        (root / "dog" / "broken.png").write_bytes(b"\x89PNG and then nothing")
        with pytest.raises(
            ConfigError, match=r"1 of 61 images cannot be used: dog/broken.png \(.*\): repair or replace them, or give"
        ):
            splits.load(dataset(root), tmp_path / "store", CPU, SILENCE)

    def test_a_class_without_images_is_refused(self, root):
        for path in (root / "owl").iterdir():
            path.unlink()
        with pytest.raises(ConfigError, match="no image in the class folder owl"):
            folder.images_by_part(dataset(root))


def test_a_whole_run_on_a_folder(command, root, tmp_path):
    small = ["student=thin", "student.depth=3", "student.width=4"]
    teacher = "teacher.convs=[{units: 8, kernel: 3, pad: 1, pool: 2}, {units: 8, kernel: 3, pad: 1, pool: 2}]"
    epochs = [f"schedule.{stage}.epochs=2" for stage in ("teacher", "hint", "student")]
    images = ["dataset=folder", f"dataset.path={root}", "dataset.classes=3"]
    finished = command(*images, *small, "teacher=maxout_cifar10", teacher, "teacher.dense=[]", *epochs, "tracker=none")
    assert finished.code == 0, finished.err
    ((_, result),) = runs(tmp_path / "store").items()
    assert result["images"] == {"train": 42, "valid": 9, "test": 9}
