"""What a composed configuration must fulfil, checked before anything heavy."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from fitnets.config import (
    Config,
    FitNet,
    Hints,
    MaxoutTeacher,
    MiddlePair,
    NamedPair,
    Net,
    NoPair,
    PaperPair,
    Stage,
    Thin,
)
from fitnets.options import ConfigError, near


def layer_names(net: Net) -> list[str]:
    """The names of a network's layers, in order: what a hint layer can be."""
    match net:
        case Thin(depth=depth):
            return [*(f"conv{i + 1}" for i in range(depth)), "softmax"]
        case MaxoutTeacher() | FitNet():
            convs = [f"conv{i + 1}" for i in range(len(net.convs))]
            return [*convs, *(f"dense{i + 1}" for i in range(len(net.dense))), "softmax"]


def hint_pair(config: Config) -> tuple[str, str] | None:
    """(hint layer of the teacher, guided layer of the student), or None without hints."""
    match config.hint_layer:
        case NoPair():
            return None
        case NamedPair(teacher=teacher, student=student):
            return teacher, student
        case MiddlePair():
            return _middle(config.teacher), _middle(config.student)
        case PaperPair():
            if isinstance(config.student, FitNet):
                return config.teacher.hint, config.student.guided
            return None


def _middle(net: Net) -> str:
    names = layer_names(net)
    convs = [name for name in names if name.startswith("conv")] or names
    return convs[(len(convs) - 1) // 2]


def check(config: Config) -> Config:
    """The config itself; a ConfigError with every broken rule, a line each, otherwise."""
    broken = [
        *_out_of_range(config),
        *_broken_hints(config),
        *_broken_scales(config),
    ]
    if broken:
        raise ConfigError("\n".join(broken))
    return config


_TINY, _INFINITY = 1e-12, float("inf")
_RANGES: dict[str, tuple[float, float]] = {  # by a key, its last part, or the name of its table
    **dict.fromkeys(("epochs", "patience", "batch_size", "momentum_epochs", "end_epoch"), (1, _INFINITY)),
    **dict.fromkeys(("units", "kernel", "pieces", "pool", "stride", "depth", "width"), (1, _INFINITY)),
    **dict.fromkeys(("channels", "height", "validation", "dataset.test"), (1, _INFINITY)),
    **dict.fromkeys(("threads", "eval_batch_size", "divisor"), (1, _INFINITY)),
    **dict.fromkeys(("pad", "warmup", "start_epoch", "minimum", "bound"), (0, _INFINITY)),
    **dict.fromkeys(("weight", "weight_end", "weight_decay", "lr_scale"), (0, _INFINITY)),
    **dict.fromkeys(("lr", "temperature", "pixel_max", "floor", "max_norm"), (_TINY, _INFINITY)),
    **dict.fromkeys(("decay", "momentum", "momentum_end", "end"), (0, 1)),
    **dict.fromkeys(("input", "hidden"), (0, 0.99)),
    "classes": (2, _INFINITY),
}


def _out_of_range(config: Config) -> Iterator[str]:
    for key, value in leaves(config):
        *_, table, last = ["", *key.split(".")]
        bounds = _RANGES.get(key) or _RANGES.get(last) or _RANGES.get(table)
        if bounds is None or not isinstance(value, int | float):
            continue
        low, high = bounds
        if not low <= value <= high or value == _INFINITY:
            least = "more than 0" if low == _TINY else f"at least {low}"
            allowed = f"{least}, finite" if high == _INFINITY else f"from {low} to {high}"
            yield f"{key}={value} is out of range: {allowed}"


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf of a composed config."""
    match value:
        case dict():
            items: list[tuple[Any, Any]] = list(value.items())
        case list():
            items = list(enumerate(value))
        case _ if is_dataclass(value):
            items = [(f.name, getattr(value, f.name)) for f in fields(value)]
        case _:
            yield key, value
            return
    for name, item in items:
        yield from leaves(item, f"{key}.{name}" if key else str(name))


def _broken_hints(config: Config) -> Iterator[str]:
    if not isinstance(config.method, Hints):
        return
    if isinstance(config.hint_layer, NoPair):
        yield "method=hints needs a hint layer and hint_layer is none: give hint_layer=middle, or method=kd"
    if isinstance(config.hint_layer, PaperPair) and not isinstance(config.student, FitNet):
        name = config.student.name
        yield f"hint_layer=paper: the paper has no pair for student {name}: give hint_layer=middle or named"
    pair = hint_pair(config)
    if pair is None:
        return
    published = isinstance(config.hint_layer, PaperPair)
    for key, net, layer in (
        ("teacher.hint" if published else "hint_layer.teacher", config.teacher, pair[0]),
        ("student.guided" if published else "hint_layer.student", config.student, pair[1]),
    ):
        names = layer_names(net)[:-1]
        if layer not in names:
            known = f"{near(layer, names)} (layers: {', '.join(names) or 'none'})"
            yield f"{key}={layer}: no such layer in {net.name}{known}"


def _broken_scales(config: Config) -> Iterator[str]:
    kinds = ["conv", "dense", "softmax"]
    sections = {
        "teacher": [*kinds, *layer_names(config.teacher)],
        "hint": [*kinds, "regressor", *layer_names(config.student)],
        "student": [*kinds, *layer_names(config.student)],
    }
    for section, names in sections.items():
        stage: Stage = getattr(config.schedule, section)
        for key in ("lr_scale", "max_norm"):
            for name in getattr(stage, key):
                if name not in names:
                    yield (
                        f"schedule.{section}.{key}.{name}: no such layer or kind{near(name, names)} "
                        f"(there are {', '.join(dict.fromkeys(names))})"
                    )
