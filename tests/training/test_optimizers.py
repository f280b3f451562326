from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fitnets.config import AdamW, ConstantLr, RmsProp, Sgd, StageSettings
from fitnets.models.layers import Activation, Conv2d, ConvLayer, DenseLayer, SoftmaxLayer
from fitnets.training.optimizers import LayerOptimizer, project
from fitnets.training.state import TrainingState

MAXOUT = Activation("maxout", 2)


def layers():
    torch.manual_seed(0)
    return {
        "conv1": ConvLayer(Conv2d((1, 4, 4), 2, (3, 3), MAXOUT), None, 1),
        "dense1": DenseLayer(8, 3, MAXOUT),
        "softmax": SoftmaxLayer(3, 2),
    }


def stage(optimizer, **changes) -> StageSettings:
    return StageSettings(epochs=9, patience=None, batch_size=1, optimizer=optimizer, lr_decay=ConstantLr(), **changes)


def loss_of(parts, factor=1.0):
    output = torch.ones(1, 1, 4, 4)
    for layer in parts.values():
        output = layer(output)
    return factor * output.square().sum()


def test_rmsprop_floors_the_root_instead_of_adding_to_it():
    """ms = .9 ms + .1 g^2; w -= lr g / max(sqrt(ms), floor): compared with NumPy, for gradients around the floor."""
    parts = {"softmax": SoftmaxLayer(2, 2)}
    weight = parts["softmax"].linear.weight
    expected, mean_square = weight.detach().double().numpy().copy(), np.zeros((2, 2))
    optimizer = LayerOptimizer(parts, stage(RmsProp(lr=0.1, decay=0.9, floor=1e-2)), steps_per_epoch=1)
    for step in range(5):
        slope = np.array([[1e-5, 1.0], [-3e-3, 20.0]]) * (step + 1)
        optimizer.update((weight * torch.tensor(slope, dtype=torch.float32)).sum())
        mean_square = 0.9 * mean_square + 0.1 * slope**2
        expected -= 0.1 * slope / np.maximum(np.sqrt(mean_square), 1e-2)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_sgd_takes_its_momentum_from_the_schedule():
    parts = layers()
    optimizer = LayerOptimizer(parts, stage(Sgd(lr=0.01, momentum=0.5, momentum_end=0.9, momentum_epochs=4)), 1)
    seen = []
    for _ in range(6):
        optimizer.update(loss_of(parts))
        seen.append(optimizer.optimizer.param_groups[0]["momentum"])
    assert seen == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 0.9])


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        (
            Sgd(lr=0.01, momentum=0.5, momentum_end=0.5, momentum_epochs=1),
            lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.5),
        ),
        (
            Sgd(lr=0.01, momentum=0.9, momentum_end=0.9, momentum_epochs=1, nesterov=True),
            lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True),
        ),
        (AdamW(lr=0.01, weight_decay=0.0), lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=0.0)),
    ],
    ids=["sgd", "nesterov", "adamw"],
)
def test_updates_are_those_of_pytorchs_own_optimiser(settings, reference):
    ours, theirs = layers(), layers()
    optimizer = LayerOptimizer(ours, stage(settings), 1)
    expected = reference([parameter for layer in theirs.values() for parameter in layer.parameters()])
    for _ in range(3):
        optimizer.update(loss_of(ours))
        expected.zero_grad()
        loss_of(theirs).backward()
        expected.step()
    for layer, other in zip(ours.values(), theirs.values(), strict=True):
        for parameter, other_parameter in zip(layer.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter, other_parameter, rtol=1e-6, atol=0)


class Scaled(nn.Module):
    """A layer with a single number to learn."""

    kind = "dense"

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))


@pytest.mark.parametrize(
    "settings", [RmsProp(lr=0.1, decay=0.9, floor=1e-2), AdamW(lr=0.1, weight_decay=0.0)], ids=["rmsprop", "adamw"]
)
def test_restored_optimizer_state_of_a_scalar_parameter_has_its_device_and_precision(settings):
    """Another precision stands here for another device. AdamW's step count keeps its type."""

    def new_state(layer):
        optimizer = LayerOptimizer({"scaled": layer}, stage(settings), steps_per_epoch=1)
        scripted = SimpleNamespace(network=layer, layers={"scaled": layer}, memory={})
        return TrainingState(scripted, optimizer, None, {})

    state = new_state(Scaled())
    state.optimizer.update(state.stage.network.factor.square())
    resumed = new_state(Scaled().double())
    resumed.restore(state.tensors(), state.facts())
    (values,) = resumed.optimizer.optimizer.state.values()
    types = {key: value.dtype for key, value in values.items()}
    assert types.pop("step", torch.float32) == torch.float32
    assert set(types.values()) == {torch.float64}
    resumed.optimizer.update(resumed.stage.network.factor.square())


def test_learning_rate_scale_by_name_wins_over_kind():
    parts = layers()
    scales = {"conv": 0.05, "dense1": 0.5, "dense": 7.0}
    optimizer = LayerOptimizer(
        parts, stage(Sgd(lr=1e-3, momentum=0, momentum_end=0, momentum_epochs=1), lr_scale=scales), 1
    )
    before = {name: layer.state_dict()[key].clone() for name, layer, key in _weights(parts)}
    optimizer.update(loss_of(parts))
    for (name, layer, key), scale in zip(_weights(parts), (0.05, 0.5, 1.0), strict=True):
        moved = layer.state_dict()[key] - before[name]
        torch.testing.assert_close(
            moved, -1e-3 * scale * dict(layer.named_parameters())[key].grad, rtol=1e-4, atol=1e-7
        )


def _weights(parts):
    keys = {"conv1": "conv.weight", "dense1": "linear.weight", "softmax": "linear.weight"}
    return [(name, layer, keys[name]) for name, layer in parts.items()]


def test_max_norm_holds_for_each_filter_after_every_update():
    parts = layers()
    bounds = {"conv": 0.3, "softmax": 0.2}
    optimizer = LayerOptimizer(parts, stage(AdamW(lr=0.5, weight_decay=0.0), max_norm=bounds), 1)
    for _ in range(3):
        optimizer.update(loss_of(parts, factor=-1.0))
        assert parts["conv1"].conv.weight.flatten(1).norm(dim=1).max() <= 0.3 + 1e-5
        assert parts["softmax"].linear.weight.norm(dim=1).max() <= 0.2 + 1e-5
    assert parts["dense1"].linear.weight.norm(dim=1).max() > 0.3


def test_projection_leaves_filters_within_the_bound_bit_for_bit():
    weight = torch.tensor([[3.0, 4.0], [0.1, 0.2]])
    project([(weight, 1.0)])
    torch.testing.assert_close(weight[0], torch.tensor([0.6, 0.8]))
    assert torch.equal(weight[1], torch.tensor([0.1, 0.2]))


@pytest.mark.parametrize(("bound", "length"), [(None, 5.0), (10.0, 5.0), (2.0, 2.0)])
def test_the_gradient_of_all_parameters_together_is_clipped_to_the_bound(bound, length):
    parts = {"softmax": SoftmaxLayer(1, 1)}
    linear = parts["softmax"].linear
    before = torch.cat([linear.weight.detach().flatten(), linear.bias.detach()])
    plain = Sgd(lr=1.0, momentum=0, momentum_end=0, momentum_epochs=1)
    LayerOptimizer(parts, stage(plain, max_grad_norm=bound), 1).update((3 * linear.weight + 4 * linear.bias).sum())
    step = before - torch.cat([linear.weight.detach().flatten(), linear.bias.detach()])
    torch.testing.assert_close(step, length * torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize(
    "decaying",
    [
        AdamW(lr=0.1, weight_decay=0.5),
        Sgd(lr=0.1, momentum=0, momentum_end=0, momentum_epochs=1, weight_decay=0.5),
    ],
)
def test_only_weights_decay(decaying):
    parts = {"softmax": SoftmaxLayer(2, 2)}
    linear = parts["softmax"].linear
    torch.nn.init.ones_(linear.bias)
    before = linear.weight.detach().clone()
    optimizer = LayerOptimizer(parts, stage(decaying), 1)
    optimizer.update((linear.weight * 0).sum() + (linear.bias * 0).sum())
    torch.testing.assert_close(linear.weight.detach(), before * (1 - 0.1 * 0.5))
    assert torch.equal(linear.bias.detach(), torch.ones(2))
