"""The pairs of a hint layer and a guided layer that a configuration chooses."""

from dataclasses import dataclass

from fitnets.config import (
    AutoRegressor,
    Config,
    ConvRegressor,
    CustomNet,
    FcRegressor,
    IdentityRegressor,
    MiddlePair,
    NamedPair,
    NoPair,
    PaperPair,
    PointwiseRegressor,
    Regressor,
    SeveralPairs,
)
from fitnets.config import layer_names as config_layer_names
from fitnets.store import earlier_runs

_REGRESSORS: dict[str, type[Regressor]] = {
    "auto": AutoRegressor,
    "conv": ConvRegressor,
    "fc": FcRegressor,
    "pointwise": PointwiseRegressor,
    "identity": IdentityRegressor,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A hint layer of the teacher and the guided layer of the student that learns from it.

    name: the pair's name in `hint_layer.pairs`; empty if there is only one pair.
    weight: factor on the pair's loss.
    regressor: the chosen regressor."""

    name: str = ""
    hint: str
    guided: str
    weight: float = 1.0
    regressor: Regressor


def links(config: Config) -> list[Link]:
    """Return the pairs of a configuration, in the order of their names.

    The list is empty without a teacher, for hint_layer=none, or if the paper has no pair for these networks."""
    if isinstance(config.hint_layer, SeveralPairs):
        if earlier_runs.architecture(config.teacher) is None:
            return []
        return [
            Link(
                name=name,
                hint=pair.teacher,
                guided=pair.student,
                weight=pair.weight,
                regressor=config.regressor if pair.regressor is None else _REGRESSORS[pair.regressor](),
            )
            for name, pair in sorted(config.hint_layer.pairs.items())
        ]
    pair = hint_pair(config)
    return [] if pair is None else [Link(hint=pair[0], guided=pair[1], regressor=config.regressor)]


def hint_pair(config: Config) -> tuple[str, str] | None:
    """Return the teacher's hint layer and the student's guided layer; of several pairs, the first by name.

    None without a teacher, for hint_layer=none, or if the paper has no pair for these networks."""
    teacher = earlier_runs.architecture(config.teacher)
    if teacher is None:
        return None
    match config.hint_layer:
        case NoPair():
            return None
        case NamedPair(teacher=hint, student=guided):
            return hint, guided
        case SeveralPairs():
            pairs = links(config)
            return (pairs[0].hint, pairs[0].guided) if pairs else None
        case MiddlePair():
            return config_layer_names.middle(teacher), config_layer_names.middle(config.student)
        case PaperPair():
            published = config_layer_names.published_hint(teacher), config_layer_names.published_guided(config.student)
            return None if None in published else published  # type: ignore[return-value]


def has_custom(config: Config) -> bool:
    """Return whether teacher or student is the user's own network, whose layers are only known after it is built."""
    return any(isinstance(net, CustomNet) for net in (earlier_runs.architecture(config.teacher), config.student))


def guided_layers(config: Config) -> list[str]:
    """The student's layers that learn a hint or the labels; empty if the configuration names none."""
    match config.hint_layer:
        case NoPair():
            return []
        case NamedPair(student=guided):
            return [guided]
        case SeveralPairs(pairs=pairs):
            return list(dict.fromkeys(pair.student for _, pair in sorted(pairs.items()) if pair.weight != 0))
        case MiddlePair():
            return [config_layer_names.middle(config.student)]
        case PaperPair():
            published = config_layer_names.published_guided(config.student)
            return [] if published is None else [published]
