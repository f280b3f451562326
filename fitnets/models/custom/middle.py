"""Chooses the layers of a user's model that can be its middle: outputs of blocks near half of the multiplications."""

from collections.abc import Mapping

import torch
from torch import nn

from fitnets.models.custom.hooks import Tap

_CENTRAL, _INNER = 0.25, 0.45
"""largest distance from half of the multiplications, of a central output and of any candidate"""
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def candidates(model: nn.Module, taps: Mapping[str, Tap], multiplications: int) -> list[str]:
    """Return the layers that can be the middle of a model, in order.

    A block is a module that contains modules. The rest of the model works on a block's output, whereas the output of a
    convolution inside the block is only one branch, before the normalisation or the shortcut. So the candidates are one
    of these groups of layers, namely the first with an output between a quarter and three quarters of the
    multiplications:

    1. the outermost blocks;
    2. elements of a plain `nn.Sequential` outside such blocks. A convolution and the normalisation, activation and
       pooling after it count as one element, with the output of the last;
    3. blocks, then elements, inside these blocks, and so on inwards;
    4. all layers.

    If no group has such an output, the group with the output nearest to half of the multiplications is taken. Layers in
    the first and the last twentieth of the multiplications are left out if others remain. Maps and tokens are preferred
    to vectors.

    taps: the model's layers by name.
    multiplications: multiply-accumulates of the whole model for one image."""
    inner = {name: tap for name, tap in taps.items() if 0 < tap.multiplications < multiplications} or dict(taps)
    inner = {name: tap for name, tap in inner.items() if len(tap.out_shape) > 1} or inner
    nested_groups = [group for level in _levels(model, inner) for group in level if group]
    groups = [group for group in [*nested_groups, list(inner)] if group]
    central = (group for group in groups if any(_is_central(inner[name], multiplications) for name in group))
    group = next(central, None) or min(
        groups, key=lambda group: min(distance(inner[name], multiplications) for name in group)
    )
    return [name for name in group if distance(inner[name], multiplications) <= _INNER] or group


def distance(tap: Tap, multiplications: int) -> float:
    """Distance of an output from half of the multiplications, as a fraction of them: 0 to 0.5."""
    return abs(tap.multiplications / max(1, multiplications) - 0.5)


def _is_central(tap: Tap, multiplications: int) -> bool:
    return distance(tap, multiplications) <= _CENTRAL


def _levels(model: nn.Module, taps: Mapping[str, Tap]) -> list[tuple[list[str], list[str]]]:
    """Return (blocks, elements of plain sequences) for each depth of nesting in blocks, the outermost first."""
    modules = dict(model.named_modules())
    levels: dict[int, tuple[list[str], list[str]]] = {}
    for name, tap in taps.items():
        parent = tap.module.rpartition(".")[0]
        module = modules[tap.module]
        blocks, elements = levels.setdefault(_blocks_around(modules, tap.module), ([], []))
        if any(module.children()) and not _is_parametrized(module):
            blocks.append(name)
        elif isinstance(modules.get(parent), nn.Sequential):
            elements.append(name)
    return [(blocks, _last_of_each(elements, taps)) for _, (blocks, elements) in sorted(levels.items())]


def _blocks_around(modules: Mapping[str, nn.Module], name: str) -> int:
    """Count the modules around a module within the model, except for plain containers."""
    parts = name.split(".")
    around = (modules.get(".".join(parts[:count])) for count in range(1, len(parts)))
    return sum(module is not None and not isinstance(module, _CONTAINERS) for module in around)


def _is_parametrized(module: nn.Module) -> bool:
    """Return whether a module contains modules only to compute its weights."""
    children = dict(module.named_children())
    return list(children) == ["parametrizations"] and torch.nn.utils.parametrize.is_parametrized(module)


def _last_of_each(elements: list[str], taps: Mapping[str, Tap]) -> list[str]:
    """Keep the last of several elements with equal multiplications whose output has as many axes as the first's."""
    last_by_cost: dict[int, str] = {}
    for name in elements:
        tap = taps[name]
        previous = last_by_cost.get(tap.multiplications)
        if previous is None or len(taps[previous].out_shape) == len(tap.out_shape):
            last_by_cost[tap.multiplications] = name
    return list(last_by_cost.values())
