"""The confusion matrices of a run, and how they are stored."""

import json

import numpy as np
import pytest
import torch

from fitnets.store import files
from fitnets.training import metrics


def logits_of(predicted: list[int], classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


class TestMatrix:
    def test_a_small_case_by_hand(self):
        counts = metrics.confusion(logits_of([0, 1, 1, 2, 2, 2], 3), torch.tensor([0, 0, 1, 0, 2, 2]))
        assert counts == [[1, 1, 1], [0, 1, 0], [0, 0, 2]]

    def test_agrees_with_numpy_and_with_the_accuracy(self):
        generator = torch.Generator().manual_seed(0)
        logits, labels = torch.randn(500, 7, generator=generator), torch.randint(0, 7, (500,), generator=generator)
        expected = np.zeros((7, 7), dtype=int)
        np.add.at(expected, (labels.numpy(), logits.argmax(1).numpy()), 1)
        counts = metrics.confusion(logits, labels)
        assert counts == expected.tolist()
        assert np.trace(counts) / 500 == pytest.approx(metrics.quality(logits, labels)["accuracy"])

    def test_classes_without_images_have_rows(self):
        assert metrics.confusion(logits_of([1], 4), torch.tensor([1])) == [
            [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0],
        ]  # fmt: skip

    def test_with_more_than_a_hundred_classes_there_is_none(self):
        assert len(metrics.confusion(logits_of([1], 100), torch.tensor([1]))) == 100
        assert metrics.confusion(logits_of([1], 101), torch.tensor([1])) is None


def test_a_run_stores_those_of_its_student_on_both_splits(earlier_run):
    result = files.read_json(earlier_run / "result.json")
    for split in ("valid", "test"):
        counts = np.array(result["student"][f"{split}_confusion"])
        assert counts.shape == (10, 10)
        assert counts.sum() == result["images"][split]
        assert np.trace(counts) == round(result["student"][f"{split}_accuracy"] * result["images"][split])
        assert f"{split}_confusion" not in result["teacher"]
    assert max(counts.sum(1)) <= result["images"]["test"]
    text = (earlier_run / "result.json").read_text()
    assert any(line.count(",") >= 9 for line in text.splitlines())  # each row of a matrix takes one line


def test_json_has_a_line_for_each_row_and_changes_nothing_else(tmp_path):
    content = {
        "a": [[1, 2], [30, -4]],
        "b": ["[\n  1,\n  2\n]", "[ 1, 2 ]", [1.5, 2], []],
        "c": {"d": [7]},
        "e": [None, 1],
    }
    files.write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == content
    assert "[30, -4]" in text
