"""The hint layer and the guided layer of a configuration, and the methods that need them."""

from fitnets.config import (
    Backprop,
    Config,
    CustomNet,
    DeeplySupervised,
    Hints,
    Joint,
    LabelHints,
    Method,
    MiddlePair,
    NamedPair,
    NoPair,
    PaperPair,
)
from fitnets.config import layer_names as config_layer_names
from fitnets.store import earlier_runs


def hint_pair(config: Config) -> tuple[str, str] | None:
    """Return the teacher's hint layer and the student's guided layer.

    None without a teacher, for hint_layer=none, or if the paper has no pair for these networks."""
    teacher = earlier_runs.architecture(config.teacher)
    if teacher is None:
        return None
    match config.hint_layer:
        case NoPair():
            return None
        case NamedPair(teacher=hint, student=guided):
            return hint, guided
        case MiddlePair():
            return config_layer_names.middle(teacher), config_layer_names.middle(config.student)
        case PaperPair():
            published = config_layer_names.published_hint(teacher), config_layer_names.published_guided(config.student)
            return None if None in published else published  # type: ignore[return-value]


def has_custom(config: Config) -> bool:
    """Return whether teacher or student is the user's own network, whose layers are only known after it is built."""
    return any(isinstance(net, CustomNet) for net in (earlier_runs.architecture(config.teacher), config.student))


def needs_pair(method: Method) -> bool:
    """Return whether the method has hints, or labels at the guided layer."""
    return isinstance(method, Hints | Joint | LabelHints)


def guided_layer(config: Config) -> str | None:
    """The student's layer that learns a hint or the labels; None if the configuration names none."""
    match config.hint_layer:
        case NoPair():
            return None
        case NamedPair(student=guided):
            return guided
        case MiddlePair():
            return config_layer_names.middle(config.student)
        case PaperPair():
            return config_layer_names.published_guided(config.student)


def needs_teacher(method: Method) -> bool:
    """Return whether the student learns from a teacher's outputs or layers; other methods use the labels alone."""
    if isinstance(method, LabelHints):
        return method.whole == "kd"
    return not isinstance(method, Backprop | DeeplySupervised)


def needed_guided(config: Config) -> str:
    """Return `guided_layer` for a method that needs one, in a checked configuration."""
    guided = guided_layer(config)
    assert guided is not None, "check lets no method that needs a guided layer pass without one"
    return guided


def needed_pair(config: Config) -> tuple[str, str]:
    """Return `hint_pair` for a method that needs one, in a checked configuration."""
    pair = hint_pair(config)
    assert pair is not None, "check lets no method that needs a pair pass without one"
    return pair
