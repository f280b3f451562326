"""The layers of a teacher and a student, and the pairs of hint and guided layer that suggest themselves."""

from dataclasses import dataclass, replace

import torch

from fitnets import architectures, build, costs, rules, stored
from fitnets.config import Architecture, Config, CustomNet, MiddlePair, NamedPair, NoPair, PaperPair
from fitnets.custom import CustomNetwork
from fitnets.networks import Network
from fitnets.options import ConfigError


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
    """source: the option of `hint_layer` that it comes from; regressor: in words, or why there is none."""

    source: str
    hint: str
    guided: str
    regressor: str


def networks(config: Config) -> tuple[Network | None, Network]:
    """(teacher, student), without weights; the teacher is None for teacher=none."""
    architecture = stored.architecture(config.teacher)
    with torch.device("meta"):
        teacher = None if architecture is None else build.network(architecture, config.dataset, "teacher")
        return teacher, build.network(config.student, config.dataset, "student")


def resolved(config: Config) -> Config:
    """With the pair by name where a network is custom, whose layers show only when it is built.

    Raises ConfigError where there is no such layer."""
    if not rules.has_custom(config) or isinstance(config.hint_layer, NoPair | PaperPair):
        return config
    sides: dict[str, Architecture | None]
    sides = {"teacher": stored.architecture(config.teacher), "student": config.student}
    named: dict[str, str] = {}
    for side, net in sides.items():
        given = getattr(config.hint_layer, side) if isinstance(config.hint_layer, NamedPair) else None
        if net is None:
            named[side] = given or ""  # nobody reads the hint layer of no teacher
        elif isinstance(net, CustomNet):
            network = build.network(net, config.dataset, side)
            assert isinstance(network, CustomNetwork)
            named[side] = network.middle if given is None else given
            network.named(named[side])
        else:
            named[side] = given or architectures.middle(net)
    return replace(config, hint_layer=NamedPair(teacher=named["teacher"], student=named["student"]))


def layer_rows(network: Network, image_shape: tuple[int, int, int]) -> list[LayerRow]:
    """In order, the logits last. image_shape: (C, H, W)."""
    multiplications = costs.up_to(network, image_shape)
    return [
        LayerRow(
            name=name,
            shape=network.named(name).out_shape if name in network.hidden else (network.classes,),
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
        pair = rules.hint_pair(resolved(replace(config, hint_layer=option)))
        if pair is None or pair in [(found.hint, found.guided) for found in pairs]:
            continue
        hint, guided = pair
        try:
            with torch.device("meta"):
                told = build.regressor(config.regressor, student.named(guided), teacher.named(hint)).describe()
        except ConfigError as error:
            told = str(error)
        pairs.append(Pair(source=option.name, hint=hint, guided=guided, regressor=told))
    return pairs
