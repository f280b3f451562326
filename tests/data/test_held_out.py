"""The rows held out for validation, and the rows trained on."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fitnets.composition import loading
from fitnets.data.held_out import train_and_validation_rows
from fitnets.errors import ConfigError
from support.datasets import hub_images

LABELS = np.arange(100) % 10


def test_train_share_takes_its_share_of_each_class(tmp_path):
    rule = {"validation_images": 20, "validation_rule": "last"}
    train, valid = train_and_validation_rows({"train": LABELS}, hub_images(tmp_path, **rule))
    for seed in (0, 1):
        half, same_valid = train_and_validation_rows(
            {"train": LABELS}, hub_images(tmp_path, **rule, train_share=0.5, seed=seed)
        )
        assert torch.equal(same_valid, valid)
        assert set(half.tolist()) < set(train.tolist())
        assert Counter(LABELS[half].tolist()) == dict.fromkeys(range(10), 4)
        quarter, _ = train_and_validation_rows(
            {"train": LABELS}, hub_images(tmp_path, **rule, train_share=0.25, seed=seed)
        )
        assert set(quarter.tolist()) < set(half.tolist())


def test_rule_last_takes_the_last_rows_whatever_the_seed(tmp_path):
    for seed in (0, 1):
        rule = hub_images(tmp_path, validation_images=20, validation_rule="last", seed=seed)
        train, valid = train_and_validation_rows({"train": LABELS}, rule)
        assert torch.equal(train, torch.arange(80))
        assert torch.equal(valid, torch.arange(80, 100))


def test_rule_by_class_is_even_and_depends_on_the_seed(tmp_path):
    splits = [
        train_and_validation_rows({"train": LABELS}, hub_images(tmp_path, validation_images=20, seed=seed))
        for seed in (0, 0, 1)
    ]
    for train, valid in splits:
        assert set(Counter(LABELS[valid.numpy()].tolist()).values()) == {2}
        assert sorted([*train.tolist(), *valid.tolist()]) == list(range(100))
    assert torch.equal(splits[0][1], splits[1][1])
    assert not torch.equal(splits[0][1], splits[2][1])


def test_an_equal_split_of_too_few_images_is_refused(tmp_path):
    for labels, count, message in (
        ([0] * 9 + [1] * 3 + [2] * 9, 9, "class 1 has 3"),
        ([0, 1, 2] * 9, 10, "multiple"),
    ):
        dataset = hub_images(tmp_path, validation_images=count, validation_rule="equal")
        with pytest.raises(
            ConfigError, match=f"dataset.validation_images={count} with validation_rule=equal .*{message}"
        ):
            train_and_validation_rows({"train": np.array(labels)}, dataset)


def test_svhn_has_the_papers_numbers():
    dataset = loading.load(["dataset=svhn", f"dataset.path={Path('anywhere')}"]).dataset
    assert (dataset.validation_images, dataset.extra_validation, dataset.classes) == (10 * 400, 10 * 200, 10)
    labels = {"train": np.arange(73_257) % 10, "extra": np.arange(531_131) % 10}
    train, valid = train_and_validation_rows(labels, dataset)
    assert (len(train), len(valid)) == (598_388, 6_000)
