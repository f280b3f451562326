"""Every method trains ResNet-20 from ResNet-56 on images in the layout of CIFAR-100."""

from pathlib import Path

import numpy as np
import pytest

from fitnets.composition.loading import CONF
from fitnets.reproduction.recipes import TABLES
from support.datasets import write_parquet

METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
OFTEN = ("attention", "contrastive_kd", "relational", "variational")
"""methods that are tried in every run of the tests; the others take minutes together"""
RESIDUAL = [row.overrides for row in TABLES["residual"].rows if row.label.startswith("resnet56")]
STAGES = ("teacher", "hint", "student")
STEPS = [f"schedule.{stage}.{key}" for stage in STAGES for key in ("max_steps=2", "batch_size=32")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, in which all methods share a store and so the teacher."""
    root = tmp_path_factory.mktemp("residual")
    generator = np.random.default_rng(0)
    for split, count in (("train", 200), ("test", 40)):
        images = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        write_parquet(root / "data", split, images, [number % 100 for number in range(count)])
    return root


@pytest.mark.usefixtures("_unmeasured")
@pytest.mark.parametrize(
    "method", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.soak) for name in METHODS]
)
def test_two_updates(command, root, method):
    layers = next((words for words in RESIDUAL if f"method={method.removesuffix('_kd')}" in words), RESIDUAL[0])
    words = [word for word in layers if not word.startswith("method=")]
    if "hint_layer=pairs" not in words:
        words.append("hint_layer=middle")
    data = [f"dataset.path={root / 'data'}", "dataset.label_column=label", "dataset.validation_images=100"]
    finished = command(
        "tracker=none", "dataset=cifar100", *data, *words, f"method={method}", *STEPS, "schedule=modern",
        store=root / "store",
    )  # fmt: skip
    assert finished.code == 0, finished.err
    assert len(list((root / "store" / "teacher").glob("[!.]*"))) == 1


def test_the_table_has_every_loss():
    methods = {word.removeprefix("method=") for words in RESIDUAL for word in words if word.startswith("method=")}
    assert methods >= {name for name in METHODS if not name.endswith("_kd") and "labels" not in name} - {"mimic", "dsn"}
