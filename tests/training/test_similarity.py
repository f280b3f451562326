"""Similarity equals its definition, and a run reports it before and after each stage."""

import itertools
import json
import math

import pytest
import torch

from fitnets.config import Dropout
from fitnets.data.splits import Split
from fitnets.experiment import pipeline
from fitnets.training import similarity
from fitnets.training.similarity import cka, gram


def hsic_by_definition(first: torch.Tensor, second: torch.Tensor) -> float:
    """Song et al. (2012): the mean of K_ij (L_ij + L_qr - 2 L_iq) over all quadruples of different images."""
    terms = [
        first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q])
        for i, j, q, r in itertools.permutations(range(len(first)), 4)
    ]
    return float(torch.stack(terms).mean())


def features(images: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(images, size, generator=torch.Generator().manual_seed(seed))


def test_cka_equals_its_definition():
    first = features(7, 5, seed=0)
    second = first[:, :3] + 0.5 * features(7, 3, seed=1)
    grams = gram([first.clone()]), gram([second.clone()])
    cross, first_self, second_self = (hsic_by_definition(*pair) for pair in (grams, grams[:1] * 2, grams[1:] * 2))
    assert cka(*grams) == pytest.approx(cross / math.sqrt(first_self * second_self))


def test_cka_of_features_that_are_equal_up_to_rotation_and_scale_is_1():
    first = features(50, 8, seed=0)
    rotation = torch.linalg.qr(features(8, 8, seed=1)).Q
    assert cka(gram([first.clone()]), gram([3 * first @ rotation + 5])) == pytest.approx(1, abs=1e-5)


def test_cka_of_unrelated_features_is_about_0_even_with_more_features_than_images():
    assert abs(cka(gram([features(100, 4000, seed=0)]), gram([features(100, 3000, seed=1)]))) < 0.05


def test_cka_of_constant_features_is_undefined():
    assert math.isnan(cka(gram([torch.ones(9, 3)]), gram([features(9, 3, seed=0)])))


def test_a_run_reports_similarity_before_and_after_each_stage(earlier_run):
    result = json.loads((earlier_run / "result.json").read_text())
    diagnoses = result["diagnoses"]
    assert list(diagnoses) == ["initial", "hint", "student"]
    assert diagnoses["hint"]["similarity"] != diagnoses["initial"]["similarity"]
    assert diagnoses["hint"]["accuracy"] == pytest.approx(1 / 10, abs=0.15)  # the upper layers are untrained


def test_without_a_pair_there_is_no_similarity(tiny, tmp_path):
    result = pipeline.run(tiny("method=kd", "hint_layer=none", f"store={tmp_path}", "dataset.validation_images=400"))
    assert result["diagnoses"]["student"]["similarity"] is None
    for metric in ("accuracy", "agreement", "calibration_error"):  # with at most 500 images all are compared
        assert result["diagnoses"]["student"][metric] == pytest.approx(result["student"][f"valid_{metric}"])


def test_compared_images_are_limited_and_evenly_spaced(monkeypatch):
    class PixelNetwork(torch.nn.Module):
        dropout = Dropout()

        def forward(self, images, wanted):
            return images.flatten(1), {"conv1": images}

    images = torch.rand(25, 1, 2, 2)
    split = Split(images, torch.zeros(25, dtype=torch.long), torch.arange(25))
    monkeypatch.setattr(similarity, "DIAGNOSED", 10)
    diagnosis = similarity.Diagnosis(PixelNetwork(), ("conv1", "conv1"), split, 4)
    assert diagnosis.split.rows.tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert diagnosis.of(PixelNetwork())["similarity"] == pytest.approx(1)
