"""The layers of a teacher and a student, and the pairs of hint and guided layer that suggest themselves."""

import itertools
import math
from dataclasses import dataclass, replace

import torch

from fitnets.config import (
    Architecture,
    Config,
    CustomNet,
    Dataset,
    MiddlePair,
    NamedPair,
    NoPair,
    PaperPair,
    layer_names,
)
from fitnets.errors import ConfigError
from fitnets.models import build, costs, hint_pair
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.models.layers import Regressor
from fitnets.models.network import Network
from fitnets.store import earlier_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """shape: of its output for one image; depth: its number by that of the last layer, 0 to 1; multiplications: of one
    image, in all layers up to this one."""

    name: str
    shape: tuple[int, ...]
    depth: float
    multiplications: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """source: the option of `hint_layer` that it comes from; regressor: in words, or why there is none; warning: where
    the regressor outweighs the student."""

    source: str
    hint: str
    guided: str
    regressor: str
    warning: str | None = None


def networks(config: Config) -> tuple[Network | None, Network]:
    """(teacher, student), without weights; the teacher is None for teacher=none."""
    architecture = earlier_runs.architecture(config.teacher)
    with torch.device("meta"):
        teacher = None if architecture is None else build.network(architecture, config.dataset, "teacher")
        return teacher, build.network(config.student, config.dataset, "student")


def resolved(config: Config) -> Config:
    """Replace the pair by its names where a network is custom, whose layers show only when it is built.

    `hint_layer=middle` takes, of the candidates on both sides (`custom.middle.candidates`; of a built-in network its
    middle layer), the pair with the smallest sum of: the distances of both layers from half of their network's
    multiplications, and half of the number of times that the side of one map has to be doubled to be the other's.
    So a hint of 7x7 goes to a map of 8x8 rather than of 16x16, for whose sake the regressor's kernel would be large.

    A custom network without layers (TorchScript, or one that is not made of modules) has no pair; methods that need
    none go on without.

    Raises ConfigError where there is no such layer."""
    if not hint_pair.has_custom(config) or isinstance(config.hint_layer, NoPair | PaperPair):
        return config
    sides: dict[str, Architecture | None]
    sides = {"teacher": earlier_runs.architecture(config.teacher), "student": config.student}
    found: dict[str, list[_Candidate]] = {}
    for side, net in sides.items():
        given = getattr(config.hint_layer, side) if isinstance(config.hint_layer, NamedPair) else None
        if net is None:
            found[side] = [_Candidate(given or "", 0.0, None)]  # nobody reads the hint layer of no teacher
        else:
            found[side] = _candidates(net, config.dataset, side, given, needed=hint_pair.needs_pair(config))
    if not all(found.values()):
        return replace(config, hint_layer=NoPair())
    hint, guided = min(itertools.product(*found.values()), key=_unlikeness)
    return replace(config, hint_layer=NamedPair(teacher=hint.name, student=guided.name))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A layer that can be in a pair. distance: from half of the multiplications; shape: None where it is not needed."""

    name: str
    distance: float
    shape: tuple[int, ...] | None


def _candidates(net: Architecture, dataset: Dataset, side: str, given: str | None, *, needed: bool) -> list[_Candidate]:
    """The layers of a side that a pair may have. given: by the user.

    Raises ConfigError where a custom network has no layers and the method needs one."""
    if given is not None and not isinstance(net, CustomNet):
        return [_Candidate(given, 0.0, None)]
    with torch.device("meta"):
        network = build.network(net, dataset, side)
    if not isinstance(network, CustomNetwork):
        name = layer_names.middle(net)
        return [_Candidate(name, 0.0, network.layer_output(name).out_shape)]
    if given is None and not network.has_middle and not needed:
        return []
    distances = network.middles if given is None else {given: 0.0}
    return [_Candidate(name, distance, network.layer_output(name).out_shape) for name, distance in distances.items()]


def _unlikeness(pair: tuple[_Candidate, ...]) -> float:
    hint, guided = pair
    doublings = 0.0
    if hint.shape is not None and guided.shape is not None and len(hint.shape) == len(guided.shape) == 3:
        doublings = abs(math.log2(math.prod(hint.shape[1:]) / math.prod(guided.shape[1:]))) / 2
    return hint.distance + guided.distance + doublings / 2


def layer_rows(network: Network, image_shape: tuple[int, int, int]) -> list[LayerRow]:
    """In order, the logits last. image_shape: (C, H, W)."""
    multiplications = costs.multiplications_up_to(network, image_shape)
    return [
        LayerRow(
            name=name,
            shape=network.layer_output(name).out_shape if name in network.hint_layer_names else (network.classes,),
            depth=number / len(multiplications),
            multiplications=total,
        )
        for number, (name, total) in enumerate(multiplications.items(), start=1)
    ]


def suggested(config: Config) -> list[Pair]:
    """What the paper has for these networks, their middle layers, and the pair that the configuration names. Nothing
    without a teacher."""
    teacher, student = networks(config)
    pairs: list[Pair] = []
    if teacher is None:
        return pairs
    for option in (PaperPair(), MiddlePair(), config.hint_layer):
        pair = hint_pair.hint_pair(resolved(replace(config, hint_layer=option)))
        if pair is None or pair in [(found.hint, found.guided) for found in pairs]:
            continue
        hint, guided = pair
        try:
            with torch.device("meta"):
                regressor = build.regressor(config.regressor, student.layer_output(guided), teacher.layer_output(hint))
            told, warning = regressor.describe(), outweighs(regressor, student)
        except ConfigError as error:
            told, warning = str(error), None
        pairs.append(Pair(source=option.name, hint=hint, guided=guided, regressor=told, warning=warning))
    return pairs


def outweighs(regressor: Regressor, student: Network) -> str | None:
    """A warning where the regressor has more weights than the student: stage 1 can then fit the hint with the regressor
    and leave the student as it is."""
    weights, parameters = (sum(values.numel() for values in part.parameters()) for part in (regressor, student))
    if weights <= parameters:
        return None
    return (
        f"the regressor has {weights:,} parameters and the student {parameters:,}: it may learn the hint in the "
        "student's place: give layers with maps of like size and fewer channels (fitnets layers lists them), or "
        "regressor=pointwise"
    )
