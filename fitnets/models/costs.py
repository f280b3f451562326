"""Costs of networks: parameters and multiplications, as trained and in the paper's convention."""

import copy
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from fitnets.config import Config, NoTeacher, Thin, image_shape
from fitnets.errors import BudgetError
from fitnets.models import build, teachers
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.models.folding import folded
from fitnets.models.layers import LOGITS, Conv2d, Dense
from fitnets.models.network import EnsembleNetwork, Network

PAPER_PIECES = 2
"""maxout pieces that the paper counts for every layer"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCost:
    """Size and work of a network.

    parameters: all parameters, as trained, but batch normalisation that can be folded into the layer before it is.
    multiplications: multiply-accumulates for one image in convolutions and dense layers, all maxout pieces included.
    paper_parameters, paper_multiplications: the same in the paper's convention, which counts 2 pieces for every maxout
    layer, and no biases."""

    parameters: int
    multiplications: int
    paper_parameters: int
    paper_multiplications: int


def cost(network: Network, image_shape: tuple[int, int, int]) -> NetworkCost:
    """Count a network's cost in one forward pass of a copy.

    The multiplications of a custom network were counted when it was built, including the matrix products of attention.

    image_shape: (C, H, W)."""
    if isinstance(network, CustomNetwork):
        weights = [p.numel() for p in network.parameters() if p.ndim > 1]
        return NetworkCost(
            parameters=sum(p.numel() for p in network.parameters()),
            multiplications=network.multiplications,
            paper_parameters=sum(weights),
            paper_multiplications=network.multiplications,
        )
    if isinstance(network, EnsembleNetwork):
        members = [asdict(cost(cast(Network, member), image_shape)) for member in network.members]
        return NetworkCost(**{key: sum(member[key] for member in members) for key in members[0]})
    counted_network = folded(_copied(network))
    positions = _positions(counted_network, image_shape)
    counted = {layer: _weights(layer) for layer in positions}
    return NetworkCost(
        parameters=sum(p.numel() for p in counted_network.parameters()),
        multiplications=sum(trained * positions[layer] for layer, (trained, _) in counted.items()),
        paper_parameters=sum(paper for _, paper in counted.values()),
        paper_multiplications=sum(paper * positions[layer] for layer, (_, paper) in counted.items()),
    )


def multiplications_up_to(network: Network, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Return the cumulative multiplications for one image after each layer, as trained, in order.

    The last entry is for the logits. A custom network has it under LOGITS, since the layer that gives them is unknown.

    image_shape: (C, H, W)."""
    if isinstance(network, EnsembleNetwork):
        return multiplications_up_to(network.hinting, image_shape)
    if isinstance(network, CustomNetwork):
        by_layer = {name: network.layer_output(name).multiplications for name in network.hint_layer_names}
        return by_layer | {LOGITS: network.multiplications}
    traced = _copied(network)
    positions = _positions(traced, image_shape)
    in_layer = [
        sum(_weights(part)[0] * positions[part] for part in layer.modules() if part in positions)
        for layer in traced.layers.values()
    ]
    return dict(zip(traced.layers, accumulate(in_layer), strict=True))


@torch.no_grad()
def _copied(network: Network) -> Network:
    """Copy a network to the CPU, with zeros for weights.

    The meta device would be slower: a convolution there first imports half of PyTorch's compiler."""
    copied = copy.deepcopy(network).to_empty(device="cpu").eval()
    for values in (*copied.parameters(), *copied.buffers()):
        values.zero_()
    copied.precision = "fp32"
    return copied


@torch.no_grad()
def _positions(traced: Network, image_shape: tuple[int, int, int]) -> dict[nn.Module, int]:
    """Count the positions at which each convolution and dense layer is applied.

    traced: a copy of the network, on which the hooks stay."""
    positions: dict[nn.Module, int] = {}

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        positions[layer] = output[0, 0].numel()  # counted before pooling

    for layer in traced.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    traced(torch.zeros(1, *image_shape))
    return positions


def within_budget(config: Config, student: Thin) -> Config:
    """Return the configuration with the widest student of this depth whose cost is within `student.budget`.

    The budget is in millions of multiplications, in the paper's convention. Raises BudgetError if even width 1 costs
    more."""
    assert student.budget is not None
    dataset, bound = config.dataset, 1e6 * student.budget

    def fits(width: int) -> bool:
        with torch.device("meta"):
            network = build.network(replace(student, width=width, budget=None), dataset, "student")
        return cost(network, image_shape(dataset)).paper_multiplications <= bound

    if not fits(1):
        raise BudgetError(
            f"student.budget={student.budget:g}: a student of depth {student.depth} costs more at any width: give a "
            "larger budget (in million multiplications), or another depth"
        )
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return replace(config, student=replace(student, width=low, budget=None))


def costs_by_network(config: Config) -> dict[str, dict[str, int]]:
    """Return the costs of student and teacher by side, before anything is trained. teacher=none gives one entry."""
    dataset = config.dataset
    with torch.device("meta"):
        student = build.network(config.student, dataset, "student")
    networks = {"student": student}
    if not isinstance(config.teacher, NoTeacher):
        networks = {"teacher": teachers.build_teacher(config), **networks}
    shape = image_shape(dataset)
    return {side: asdict(cost(network, shape)) for side, network in networks.items()}


def _weights(layer: nn.Module) -> tuple[int, int]:
    """Number of weights: (as trained, in the paper's convention)."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    trained = layer.weight.numel()
    if isinstance(layer, Conv2d | Dense) and layer.activation.kind == "maxout":
        return trained, trained // layer.activation.pieces * PAPER_PIECES
    return trained, trained
