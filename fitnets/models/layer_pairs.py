"""The layers of teacher and student, and suggested pairs of a hint layer and a guided layer."""

import itertools
import math
from dataclasses import dataclass, replace

import torch

from fitnets.config import (
    Architecture,
    Config,
    CustomNet,
    Dataset,
    LayerPair,
    MiddlePair,
    NamedPair,
    NoPair,
    PaperPair,
    SeveralPairs,
    layer_names,
)
from fitnets.config import Regressor as RegressorOption
from fitnets.errors import ConfigError, suggest
from fitnets.models import build, costs, hint_pair
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.models.layers import Regressor
from fitnets.models.network import Network
from fitnets.store import earlier_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A layer of a network.

    shape: shape of its output for one image.
    depth: its position relative to the last layer's, above 0 and up to 1.
    multiplications: multiply-accumulates for one image in all layers up to this one."""

    name: str
    shape: tuple[int, ...]
    depth: float
    multiplications: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A suggested pair of layers.

    source: the option of `hint_layer` that chooses the pair.
    hint: the teacher's hint layer.
    guided: the student's guided layer.
    regressor: the regressor in words, or why none fits.
    warning: set if the regressor has more weights than the student."""

    source: str
    hint: str
    guided: str
    regressor: str
    warning: str | None = None


def networks(config: Config) -> tuple[Network | None, Network]:
    """Build (teacher, student) without weights, on the meta device; the teacher is None for teacher=none."""
    architecture = earlier_runs.architecture(config.teacher)
    with torch.device("meta"):
        teacher = None if architecture is None else build.network(architecture, config.dataset, "teacher")
        return teacher, build.network(config.student, config.dataset, "student")


def resolve_pair(config: Config, *, needed: bool = False) -> Config:
    """Replace the configured pair by the names of its layers if a network is custom.

    A custom network's layers are only known after it is built; other configurations are returned unchanged.

    `hint_layer=middle` combines the candidates of both sides: those of `custom.middle.candidates` for a custom network,
    and the middle layer of a built-in one. It takes the pair with the smallest sum of two numbers. The first is the
    distance of both layers from half of their network's multiplications. The second is half of the number of
    doublings between the sides of the two maps. So a hint of 7x7 goes to a map of 8x8 rather than 16x16, which would
    need a large kernel in the regressor.

    A custom network without layers (TorchScript, or one that is not made of modules) has no pair: the configuration
    gets hint_layer=none if its method needs no pair.

    needed: whether the method needs a pair.

    Raises ConfigError if a named layer does not exist, or if the method needs a pair and a network has no layers."""
    if not hint_pair.has_custom(config) or isinstance(config.hint_layer, NoPair | PaperPair):
        return config
    if isinstance(config.hint_layer, SeveralPairs):
        _check_layers(config, config.hint_layer)
        return config
    sides: dict[str, Architecture | None]
    sides = {"teacher": earlier_runs.architecture(config.teacher), "student": config.student}
    candidates: dict[str, list[_Candidate]] = {}
    for side, net in sides.items():
        named = getattr(config.hint_layer, side) if isinstance(config.hint_layer, NamedPair) else None
        if net is None:
            candidates[side] = [_Candidate(named or "", 0.0, None)]  # without a teacher, the hint layer is never used
        else:
            candidates[side] = _candidates(net, config.dataset, side, named, needed=needed)
    if not all(candidates.values()):
        return replace(config, hint_layer=NoPair())
    hint, guided = min(itertools.product(*candidates.values()), key=_unlikeness)
    return replace(config, hint_layer=NamedPair(teacher=hint.name, student=guided.name))


def _check_layers(config: Config, option: SeveralPairs) -> None:
    """Raise ConfigError if a layer of one of several pairs does not exist."""
    for side, network in zip(("teacher", "student"), networks(config), strict=True):
        for name, pair in sorted(option.pairs.items()):
            layer = getattr(pair, side)
            if network is not None and layer not in network.hint_layer_names:
                raise ConfigError(
                    f"hint_layer.pairs.{name}.{side}={layer}: no such layer in {getattr(config, side).name}"
                    f"{suggest(layer, network.hint_layer_names)} (fitnets layers, with the same options, lists them)"
                )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A layer that can be in a pair.

    distance: distance from half of the network's multiplications, as a fraction of them.
    shape: shape of the layer's output for one image; None if it is not needed."""

    name: str
    distance: float
    shape: tuple[int, ...] | None


def _candidates(net: Architecture, dataset: Dataset, side: str, named: str | None, *, needed: bool) -> list[_Candidate]:
    """Return the layers of one side that a pair may have.

    named: the layer that the user named.
    needed: whether the method needs a pair.

    Raises ConfigError if a custom network has no layers and the method needs one."""
    if named is not None and not isinstance(net, CustomNet):
        return [_Candidate(named, 0.0, None)]
    with torch.device("meta"):
        network = build.network(net, dataset, side)
    if not isinstance(network, CustomNetwork):
        name = layer_names.middle(net)
        return [_Candidate(name, 0.0, network.layer_output(name).out_shape)]
    if named is None and not network.has_middle and not needed:
        return []
    distances = network.middles if named is None else {named: 0.0}
    return [_Candidate(name, distance, network.layer_output(name).out_shape) for name, distance in distances.items()]


def _unlikeness(pair: tuple[_Candidate, ...]) -> float:
    hint, guided = pair
    doublings = 0.0
    if hint.shape is not None and guided.shape is not None and len(hint.shape) == len(guided.shape) == 3:
        doublings = abs(math.log2(math.prod(hint.shape[1:]) / math.prod(guided.shape[1:]))) / 2
    return hint.distance + guided.distance + doublings / 2


def layer_rows(network: Network, image_shape: tuple[int, int, int]) -> list[LayerRow]:
    """Return a network's layers in order, the logits last. image_shape: (C, H, W)."""
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


def suggest_pairs(config: Config) -> list[Pair]:
    """Return the paper's pair for these networks, the pair of their middle layers, and the configured pair.

    Equal pairs are listed once. The list is empty without a teacher."""
    teacher, student = networks(config)
    pairs: list[Pair] = []
    if teacher is None:
        return pairs
    for option in (PaperPair(), MiddlePair(), config.hint_layer):
        pair = hint_pair.hint_pair(resolve_pair(replace(config, hint_layer=option)))
        if pair is None or pair in [(listed.hint, listed.guided) for listed in pairs]:
            continue
        hint, guided = pair
        try:
            with torch.device("meta"):
                regressor = build.regressor(config.regressor, student.layer_output(guided), teacher.layer_output(hint))
            description, warning = regressor.describe(), outweighs(regressor, student)
        except ConfigError as error:
            description, warning = str(error), None
        pairs.append(Pair(source=option.name, hint=hint, guided=guided, regressor=description, warning=warning))
    return pairs


def suggest_several(teacher: list[LayerRow], student: list[LayerRow]) -> dict[str, LayerPair]:
    """Suggest one pair for each size of the student's maps, as `hint_layer.pairs` takes them.

    Each pair joins the last layers with such a map in both networks. The teacher's layer is the one whose map is most
    alike in size and, of those, the one at the most similar depth; no layer is in two pairs.

    teacher, student: the layers of both networks, from `layer_rows`."""
    pairs: dict[str, LayerPair] = {}
    left = _ends(teacher)
    for guided in _ends(student):
        if not left:
            break
        hint = min(left, key=lambda row: (abs(_doublings(row) - _doublings(guided)), abs(row.depth - guided.depth)))
        left = left[left.index(hint) + 1 :]  # later layers learn from later layers
        pairs[f"pair{len(pairs) + 1}"] = LayerPair(teacher=hint.name, student=guided.name)
    return pairs


def _ends(rows: list[LayerRow]) -> list[LayerRow]:
    """The last hidden layer of each size of map, in order."""
    by_size = {row.shape[1:]: row for row in rows[:-1] if len(row.shape) == 3}
    return sorted(by_size.values(), key=rows.index)


def _doublings(row: LayerRow) -> float:
    """Logarithm to base 2 of the side of a layer's map."""
    return math.log2(math.prod(row.shape[1:])) / 2


def resolved_regressors(config: Config) -> list[RegressorOption]:
    """The concrete regressor of every pair of layers, in the order of the pairs: `auto` becomes the kind that it picks.

    Raises ConfigError if a choice does not fit the shapes of its pair."""
    teacher, student = networks(config)
    assert teacher is not None
    return [
        build.resolved_regressor(link.regressor, student.layer_output(link.guided), teacher.layer_output(link.hint))
        for link in hint_pair.links(config)
    ]


def outweighs(regressor: Regressor, student: Network) -> str | None:
    """Return a warning if the regressor has more weights than the student; None otherwise.

    Stage 1 can then fit the hint with the regressor alone and leave the student as it is."""
    weights, parameters = (sum(values.numel() for values in part.parameters()) for part in (regressor, student))
    if weights <= parameters:
        return None
    return (
        f"the regressor has {weights:,} parameters and the student {parameters:,}: the regressor may learn the hint in "
        "the student's place: give layers with maps of similar size and fewer channels (fitnets layers lists them), or "
        "regressor=pointwise"
    )
