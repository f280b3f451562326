"""Batch normalisation of students: where it acts, how it is folded, what it costs, and what stage 1 does to it."""

import pytest
import torch
from torch import nn

from fitnets.composition import loading
from fitnets.config import image_shape
from fitnets.machine.latency import latencies
from fitnets.models import build
from fitnets.models.costs import cost
from fitnets.models.folding import folded
from fitnets.models.layers import Conv2d, Dense
from support.stages import changed, prepared, state, train

STUDENTS = {
    "fitnet1": ["dataset=cifar10", "student=fitnet1"],
    "mnist, untied biases": ["dataset=mnist"],
    "thin": ["dataset=mnist", "student=thin"],
    "table6": ["dataset=cifar10", "student=table6"],
    "relu": ["dataset=aflw", "dataset.path=patches", "student=fitnet_aflw1"],
}


def network(words, normalization):
    config = loading.load([*words, f"student.normalization={normalization}"])
    built = build.network(config.student, config.dataset, "student")
    build.initialise(built, loading.load([]).schedule.student_init, seed=0)
    return built, image_shape(config.dataset)


def used(built, shape):
    """The network after a few batches: its statistics, scales, shifts and biases are no longer the first ones."""
    generator = torch.Generator().manual_seed(1)
    built.train()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for _ in range(3):
            built(2 * torch.randn(32, *shape, generator=generator) + 1)
    return built.eval()


@pytest.mark.parametrize("words", STUDENTS.values(), ids=STUDENTS)
class TestEveryStudent:
    def test_each_linear_piece_of_the_hidden_layers_is_normalised(self, words):
        built, _ = network(words, "batch")
        parts = [part for part in built.modules() if isinstance(part, Conv2d | Dense)]
        assert [part.norm.num_features for part in parts] == [len(part.weight) for part in parts]
        assert all(part.bias is None for part in parts)
        assert isinstance(built.layer_output(list(built.layers)[-1]).linear, nn.Linear)

    def test_the_folded_network_gives_the_same_logits_without_normalisation(self, words):
        built, shape = network(words, "batch")
        used(built, shape)
        plain = folded(built)
        assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in plain.modules())
        images = torch.randn(8, *shape, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            expected = built(images)[0]
            torch.testing.assert_close(plain(images)[0], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        assert any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in built.modules())  # itself unchanged

    def test_the_costs_are_those_without_normalisation(self, words):
        normalised, shape = network(words, "batch")
        plain, _ = network(words, "none")
        assert cost(normalised, shape) == cost(plain, shape)
        assert {key: value.shape for key, value in folded(normalised).state_dict().items()} == {
            key: value.shape for key, value in plain.state_dict().items()
        }


def test_a_network_without_foldable_normalisation_is_returned_as_it_is():
    plain, _ = network(STUDENTS["fitnet1"], "none")
    assert folded(plain) is plain
    config = loading.load(["dataset=cifar10", "student=resnet"])
    resnet = build.network(config.student, config.dataset, "student")
    assert folded(resnet) is resnet


def test_latencies_are_those_of_the_folded_network(monkeypatch):
    built, shape = network(STUDENTS["mnist, untied biases"], "batch")
    timed = []
    monkeypatch.setattr("fitnets.machine.latency.in_turns", lambda work, _: timed.append(work["student"].func) or {})
    latencies({"student": built}, torch.zeros(shape), batches=(1,))
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in timed[0].modules())


def test_layers_above_the_guided_one_keep_their_statistics_in_stage_1(tiny, tmp_path):
    plan = prepared(tiny, tmp_path, "student.normalization=batch", "hint_layer=middle")
    before = state(plan.student)
    train(plan, plan.stages[0])
    moved = changed(before, state(plan.student))
    guided = plan.stages[0].until[-1]
    below = list(plan.stages[0].network.trainable_parts(guided))
    assert {name.split(".")[1] for name in moved} == set(below)
    assert any("running_mean" in name for name in moved)
    assert len(below) < len(plan.student.layers)


def test_weights_are_the_same_with_and_without_normalisation():
    normalised, _ = network(STUDENTS["fitnet1"], "batch")
    plain, _ = network(STUDENTS["fitnet1"], "none")
    weights = plain.state_dict()
    for key, value in normalised.state_dict().items():
        if key.endswith("weight") and "norm" not in key:
            assert torch.equal(value, weights[key]), key
