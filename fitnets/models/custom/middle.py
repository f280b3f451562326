"""Which layers of a user's model suggest themselves for hints: outputs of its blocks near the middle."""

from collections.abc import Mapping

import torch
from torch import nn

from fitnets.models.custom.hooks import Tap

_CENTRAL, _INNER = 0.25, 0.45
"""distances from half of the multiplications"""
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def candidates(model: nn.Module, taps: Mapping[str, Tap], multiplications: int) -> list[str]:
    """Layers that can be the middle of a model, in order.

    A block is a module with modules in it. Its output is what the rest of the model works on, while a convolution
    inside it sees a part (one branch, before the normalisation or the shortcut). Taken are, in this order, the first
    that has an output between a quarter and three quarters of the multiplications:

    1. the outermost blocks;
    2. elements of a plain `nn.Sequential` outside such blocks; of a convolution and the normalisation, activation
       and pooling that follow it, the last;
    3. the same two inside these blocks, and so on inwards.

    Without any such output: the blocks, elements or other layers with the output nearest to the half. The first and
    the last twentieth of the multiplications are left out where others remain. Maps and tokens are preferred to
    vectors."""
    below = {name: tap for name, tap in taps.items() if 0 < tap.multiplications < multiplications} or dict(taps)
    below = {name: tap for name, tap in below.items() if len(tap.out_shape) > 1} or below
    groups = [group for level in _levels(model, below) for group in level if group]
    others = [group for group in [*groups, list(below)] if group]
    middles = (group for group in others if any(_is_central(below[name], multiplications) for name in group))
    group = next(middles, None) or min(
        others, key=lambda group: min(distance(below[name], multiplications) for name in group)
    )
    return [name for name in group if distance(below[name], multiplications) <= _INNER] or group


def distance(tap: Tap, multiplications: int) -> float:
    """How far from half of the multiplications an output is, 0 to 1/2."""
    return abs(tap.multiplications / max(1, multiplications) - 0.5)


def _is_central(tap: Tap, multiplications: int) -> bool:
    return distance(tap, multiplications) <= _CENTRAL


def _levels(model: nn.Module, taps: Mapping[str, Tap]) -> list[tuple[list[str], list[str]]]:
    """(blocks, elements of plain sequences) by the number of blocks around them, none first."""
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
    """How many modules with a forward of their own lie between the model and one of its modules."""
    parts = name.split(".")
    around = (modules.get(".".join(parts[:count])) for count in range(1, len(parts)))
    return sum(module is not None and not isinstance(module, _CONTAINERS) for module in around)


def _is_parametrized(module: nn.Module) -> bool:
    """Whether the modules in it only compute its weights."""
    children = dict(module.named_children())
    return list(children) == ["parametrizations"] and torch.nn.utils.parametrize.is_parametrized(module)


def _last_of_each(elements: list[str], taps: Mapping[str, Tap]) -> list[str]:
    """Of elements with equal multiplications, the last one whose output has as many axes as the first's."""
    kept: dict[int, str] = {}
    for name in elements:
        tap = taps[name]
        first = kept.get(tap.multiplications)
        if first is None or len(taps[first].out_shape) == len(tap.out_shape):
            kept[tap.multiplications] = name
    return list(kept.values())
