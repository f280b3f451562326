"""The default networks of dataset=folder fit images of any size and learn from few of them."""

import re

import numpy as np
import pytest
from PIL import Image

from fitnets.composition import loading
from fitnets.config.options import content_hash, plain, restore
from fitnets.models import build, hint_pair, teachers
from fitnets.planning import identity
from fitnets.training import methods


@pytest.fixture
def folder(tmp_path):
    """A folder of three classes: dark images with a bright bar across, along, or without one."""

    def make(size: int, each: int):
        generator = np.random.default_rng(0)
        for name in ("across", "along", "none"):
            (tmp_path / "img" / name).mkdir(parents=True)
            for number in range(each):
                pixels = generator.integers(0, 60, (size, size, 3))
                start = int(generator.integers(0, size * 3 // 4))
                bar = slice(start, start + size // 4)
                if name != "none":
                    pixels[(bar, slice(None)) if name == "across" else (slice(None), bar)] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "img" / name / f"{number}.png")
        return tmp_path / "img"

    return make


@pytest.mark.parametrize("size", ["8 8", "17 17", "32 32", "64 64", "48 31"])
@pytest.mark.parametrize("channels", [1, 3])
def test_default_networks_fit_images_of_any_size(size, channels):
    height, width = size.split()
    shape = [f"dataset.height={height}", f"dataset.width={width}", f"dataset.channels={channels}"]
    config = loading.load(["dataset=folder", "dataset.path=x", "dataset.classes=3", *shape])
    assert (config.teacher.name, config.student.name, config.hint_layer.name) == ("resnet", "thin", "middle")
    teacher, student = teachers.build_teacher(config), build.network(config.student, config.dataset, "student")
    assert [stage.name for stage in methods.stages(config, teacher, student)] == ["hint", "student"]
    assert sum(p.numel() for p in teacher.parameters()) < 200_000


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["student=fitnet1"], ("resnet", "fitnet1", "middle")),
        (["teacher=maxout_cifar10", "student=fitnet1"], ("maxout_cifar10", "fitnet1", "paper")),
        (["teacher.depth=20", "student.width=4"], ("resnet", "thin", "middle")),
    ],
)
def test_default_networks_can_be_replaced(words, names):
    config = loading.load(["dataset=folder", "dataset.path=x", "dataset.classes=3", *words])
    assert (config.teacher.name, config.student.name, config.hint_layer.name) == names


def test_the_default_networks_of_earlier_versions_keep_their_hashes():
    """The former default networks of `dataset=folder` can still be chosen by name, with the same hashes."""
    words = ["dataset=folder", "dataset.path=x", "dataset.classes=3", "teacher=maxout_cifar10", "student=fitnet1"]
    config = loading.load(words)
    assert (content_hash(config.teacher), content_hash(config.student)) == ("3f499cfe8bdf8dab", "d69066e14234fb00")
    assert hint_pair.hint_pair(config) == ("conv2", "conv6")
    assert identity.hashes(restore(plain(config)), "digest", "fp32") == identity.hashes(config, "digest", "fp32")


def test_quick_trains_the_default_networks_on_sixty_images_a_class(command, folder):
    words = [f"dataset.path={folder(12, 60)}", "dataset.height=12", "dataset.width=12", "tracker=none"]
    finished = command("dataset=folder", *words, "schedule.teacher.epochs=10", "engine.precision=fp32")
    assert finished.code == 0, finished.err
    accuracies = re.search(r"validation accuracy │\s+([\d.]+) % │\s+([\d.]+) %", finished.out)
    assert accuracies is not None
    assert min(map(float, accuracies.groups())) > 70
    assert "has not begun to learn" not in finished.out
