"""A data set of the user's own: a function that returns map-style data sets of (image, label)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fitnets.composition import loading
from fitnets.data.reading import own
from fitnets.experiment import pipeline
from support.datasets import in_silence
from support.runs import TINY

SETS = """
import numpy as np
import torch
from PIL import Image

class Images:
    classes = ["ant", "bee", "cow"]
    def __init__(self, count, kind="array", seed=0, size=8):
        generator = np.random.default_rng(seed)
        self.labels = np.arange(count) % 3
        noise = generator.integers(0, 100, (count, size, size, 3))
        self.pixels = (noise + 60 * self.labels[:, None, None, None]).astype(np.uint8)
        self.kind = kind
    def __len__(self):
        return len(self.labels)
    def __getitem__(self, number):
        pixels = self.pixels[number]
        image = {
            "array": pixels,
            "pil": Image.fromarray(pixels),
            "tensor": torch.from_numpy(pixels).permute(2, 0, 1),
            "fraction": torch.from_numpy(pixels).permute(2, 0, 1).float() / 255,
        }[self.kind]
        return image, int(self.labels[number])

COUNTS = {"train": 120, "validation": 30, "test": 30}

def make(split, kind="array", only=None, **options):
    if only is not None and split not in only:
        return None
    return Images(COUNTS[split], kind, seed=list(COUNTS).index(split), **options)

def without_names(split):
    data = make(split)
    return [data[number] for number in range(len(data))]

class Changed(Images):
    def __init__(self, item):
        super().__init__(60)
        self.item = item
    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return self.item(number, image, label)

def random(split):
    return Changed(lambda number, image, label: (np.random.randint(0, 255, image.shape).astype(np.uint8), label))

def normalised(split):
    return Changed(lambda number, image, label: (image / 127.5 - 1, label))

def of_two_sizes(split):
    return Changed(lambda number, image, label: (image[:6] if number == 7 else image, label))

def one_hot(split):
    return Changed(lambda number, image, label: (image, np.eye(3)[label]))

def triples(split):
    return Changed(lambda number, image, label: (image, label, number))

def mixed(split):
    return Changed(lambda number, image, label: (image[..., 0] if number == 0 else image, label))

def of_32_bits(split):
    return Changed(lambda number, image, label: (Image.fromarray(image[..., 0].astype(np.float32)), label))

def of_truths(split):
    return Changed(lambda number, image, label: (image > 50, label))

def counted(split):
    data = Images(30)
    data.classes = 3
    return data

def broken(split):
    return Changed(lambda number, image, label: 1 / 0 if number == 5 else (image, label))

def labels_from_1(split):
    return Changed(lambda number, image, label: (image, label + 1))

def nothing(split):
    return None

def a_number(split):
    return 3

def empty(split):
    return []

def fails(split):
    raise OSError("no such folder")
"""
NETWORKS = [word for word in TINY if not word.startswith(("teacher.", "dataset."))] + [
    "teacher.depth=8",
    "hint_layer=middle",
    "dataset.validation_share=0.25",
]


def write(folder: Path, text: str) -> None:
    """Write the user's file, as a process finds it that has not read it."""
    (folder / "my_data.py").write_text(text)
    sys.modules.pop("my_data", None)
    own._made.cache_clear()
    own._DIGESTS.clear()


@pytest.fixture(autouse=True)
def sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, SETS)


def data(target: str, **arguments: str) -> list[str]:
    args = ", ".join(f"{name}: {value}" for name, value in arguments.items())
    return ["dataset=custom", f"dataset.target=my_data.{target}", *([f"+dataset.args={{{args}}}"] if args else [])]


def test_size_and_classes_are_those_of_the_training_set():
    dataset = loading.load([*NETWORKS, *data("make")]).dataset
    assert (dataset.channels, dataset.height, dataset.width, dataset.classes) == (3, 8, 8, 3)


@pytest.mark.parametrize("only", ["[train, validation, test]", "[train, test]", "[train]"])
def test_a_run_is_trained_with_the_splits_that_there_are(command, tmp_path, only):
    finished = command(*NETWORKS, *data("make", only=only))
    assert finished.code == 0, finished.err
    (path,) = (tmp_path / "store").glob("run/*/result.json")
    result = json.loads(path.read_text())
    has_validation, has_test = "validation" in only, "test" in only
    assert result["images"]["train"] == (120 if has_validation else 90)
    assert ("test_accuracy" in result["student"]) == has_test
    assert ("25 % of each class of the training images are held out" in finished.out) == (not has_validation)
    assert ("this data set has no test split" in finished.out) == (not has_test)
    assert result["classes"] == ["ant", "bee", "cow"]
    assert "found, nothing was trained" in command(*NETWORKS, *data("make", only=only)).out


def test_every_kind_of_image_gives_the_same_run(tiny):
    digests = set()
    for kind in ("array", "pil", "tensor", "fraction"):
        dataset = loading.load([*NETWORKS, *data("make", kind=kind)]).dataset
        digests.add(json.dumps(own.identity(dataset, "train", in_silence)))
    assert len(digests) == 1


def test_the_images_are_part_of_the_hash(tmp_path):
    words = [*NETWORKS, *data("make"), f"store={tmp_path / 'store'}"]
    first = pipeline.run(loading.load(words))["hashes"]
    write(tmp_path, SETS.replace("integers(0, 100", "integers(0, 99"))
    second = pipeline.run(loading.load(words))["hashes"]
    assert all(first[kind] != second[kind] for kind in ("data", "teacher", "run", "test"))


def test_a_store_that_has_the_images_is_not_read_for_others(tmp_path):
    """The teacher and the split stay the same if only the test images change."""
    words = [*NETWORKS, *data("make"), f"store={tmp_path / 'store'}"]
    first = pipeline.run(loading.load(words))["hashes"]
    write(tmp_path, SETS.replace('"test": 30', '"test": 300'))
    second = pipeline.run(loading.load(words))["hashes"]
    assert (first["run"], first["test"] != second["test"]) == (second["run"], True)


def test_a_version_stands_for_the_images(command, tmp_path, monkeypatch):
    """Nothing is read as long as it stays the same."""
    monkeypatch.setattr(own, "_READ_TWICE", 0)
    seen, real = [], own._item
    monkeypatch.setattr(own, "_item", lambda *given: (seen.append(given[3]), real(*given))[1])
    counts = []
    for version in ("one", "one", "two"):
        own._DIGESTS.clear()
        seen.clear()
        assert command(*NETWORKS, *data("make"), f"dataset.version={version}").code == 0
        counts.append(len(seen))
    assert counts[0] >= 180
    assert counts[1] < 10
    assert counts[2] >= 180


def test_a_list_of_pairs_is_a_data_set_too(command):
    finished = command(*NETWORKS, *data("without_names"), "dataset.classes=3")
    assert finished.code == 0, finished.err


def test_grey_images_may_become_rgb_and_the_reverse(command):
    finished = command(*NETWORKS, *data("make"), "dataset.channels=1")
    assert finished.code == 0, finished.err


def test_eval_export_and_predict_work(command, fitnets, tmp_path):
    assert command(*NETWORKS, *data("make")).code == 0
    (folder,) = (tmp_path / "store" / "run").glob("[!.]*")
    evaluated = fitnets("eval", folder, f"store={tmp_path / 'store'}", "--json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(evaluated.out)["images"] == 30
    assert fitnets("export", folder, "--out", tmp_path / "out").code == 0
    from PIL import Image

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "one.png")
    predicted = fitnets("predict", folder, tmp_path / "one.png")
    assert predicted.code == 0, predicted.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=custom"], "dataset.target has no value"),
        (data("mak"), "no mak in my_data; did you mean make"),
        (data("make", sizes="4"), "got an unexpected keyword argument 'sizes'"),
        (data("without_names"), "its training set has no attribute `classes`: give dataset.classes"),
        (data("random"), "item 0 of its train set is another one when it is read again"),
        (data("normalised"), "of type float64: give whole numbers from 0 to 255"),
        (data("of_two_sizes"), "image 7 of its train set has the shape (3, 6, 8) and those before it (3, 8, 8)"),
        (data("one_hot"), "give the number of its class, a whole number from 0"),
        (data("triples"), "item 0 of its train set is a tuple: give (image, label)"),
        (data("mixed"), "image 1 of its train set has 3 channels and the first one has 1: give dataset.channels=3"),
        (data("of_32_bits"), "32-bit pixels (mode F): save it with 8 or 16 bits"),
        (data("of_truths"), "has the type bool"),
        (data("counted"), "its training set has no attribute `classes`"),
        (data("broken"), "item 5 of its train set cannot be read (ZeroDivisionError: division by zero)"),
        (data("labels_from_1"), "number the classes from 0 without gaps"),
        (data("nothing"), 'for "train" it returns None'),
        (data("a_number"), "returns a int: return a data set with __len__ and __getitem__"),
        (data("empty"), "its train data set is empty"),
        (data("fails"), "failed (OSError: no such folder)"),
        ([*data("make"), "dataset.height=9", "dataset.width=9"], "give dataset.height=8 dataset.width=8"),
        ([*data("make"), "dataset.classes=2"], "dataset.classes=2 allows labels 0 to 1"),
    ],
)
def test_a_mistake_is_reported_before_training(command, words, message):
    finished = command(*NETWORKS, *words)
    assert finished.code == 1
    assert message in finished.err
    assert len(finished.err.splitlines()) <= 3


def test_pictures_are_turned_into_pixels_like_those_of_files():
    from PIL import Image

    grey_16 = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    assert (own._pixels(grey_16, "t", 0, "train") == 40_000 >> 8).all()
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (own._pixels(clear, "t", 0, "train") == 255).all()  # white where it is transparent
