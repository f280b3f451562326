"""Pairs of later literature run with two-stage hints and with the joint loss.

They are resnet56 -> resnet20 and WRN-40-2 -> WRN-16-2."""

import numpy as np
import pytest

from support.datasets import write_parquet
from support.runs import runs

PAIRS = {
    "resnet": ["teacher=resnet", "teacher.depth=56", "student=resnet", "student.depth=20"],
    "wrn": ["teacher=wrn", "teacher.depth=40", "teacher.width=2", "student=wrn", "student.depth=16", "student.width=2"],
}
LABELS = ["dataset.image_column=null", "dataset.label_column=label"]
SHORT = [
    word
    for stage in ("teacher", "hint", "student")
    for word in (f"schedule.{stage}.epochs=1", f"schedule.{stage}.max_steps=2", f"schedule.{stage}.batch_size=8")
]


@pytest.fixture
def cifar(tmp_path):
    generator = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 20)):
        images = generator.integers(0, 256, size=(count, 16, 16, 3), dtype=np.uint8)
        write_parquet(tmp_path / "data", split, images, [number % 10 for number in range(count)])
    words = ["dataset=cifar10", f"dataset.path={tmp_path / 'data'}", "dataset.validation_images=20"]
    return [*words, "dataset/preprocessing=standardize", "dataset.height=16", "dataset.width=16", *LABELS]


@pytest.mark.parametrize("method", ["hints", "joint"])
@pytest.mark.parametrize("family", PAIRS)
def test_a_residual_pair_runs(command, tmp_path, cifar, family, method):
    finished = command(*cifar, *PAIRS[family], f"method={method}", *SHORT, "schedule=modern", "tracker=none")
    assert finished.code == 0, finished.err
    ((_, result),) = runs(tmp_path / "store").items()
    assert result["hint"]["teacher_layer"] == {"resnet": "group2_block9", "wrn": "group2_block6"}[family]
    assert result["hint"]["student_layer"] == {"resnet": "group2_block3", "wrn": "group2_block2"}[family]
    assert result["hint"]["regressor"] == "no regressor"
    assert list(result["stages"]) == ["teacher", *(["hint"] if method == "hints" else []), "student"]
    assert result["teacher"]["layers"] > 2 * result["student"]["layers"]
