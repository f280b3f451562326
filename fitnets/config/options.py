"""The parts that the typed configuration is made of: option classes, marks of their fields, plain values, hashes.

Like the rest of `config`, this module imports the standard library alone, so that `--help` and `--cfg job` stay fast.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, overload

from fitnets.paths import expanded

T = TypeVar("T")
OPTIONS: dict[str, type[Any]] = {}
"""Option classes by name."""
FORMER_NAMES: dict[str, str] = {}
"""Present name of each renamed option class, by the name that it was first stored under."""
FORMER_OPTIONS: dict[str, Callable[..., Any]] = {}
"""For each option class that no longer exists, a function that makes the present option from its stored values."""
_STORED_NAMES: dict[type[Any], str] = {}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a number, both ends included. A number must be finite even if `high` is infinite."""

    low: float
    high: float = float("inf")

    def allow(self, value: float) -> bool:
        return self.low <= value <= self.high and value != float("inf")

    def __str__(self) -> str:
        least = "more than 0" if self == POSITIVE else f"at least {self.low}"
        return f"{least}, finite" if self.high == float("inf") else f"from {self.low} to {self.high}"


POSITIVE = Bounds(1e-12)
AT_LEAST_0, AT_LEAST_1 = Bounds(0), Bounds(1)
FRACTION = Bounds(0, 1)


def neutral(
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    bounds: Bounds | None = None,
    former: str | None = None,
) -> Any:
    """A field that cannot change a result, such as a location or a label. It is left out of every hash.

    former: the name of the field in earlier versions, see `renamed`"""
    return _field(default, default_factory, neutral=True, bounds=bounds, stored_as=former)


def location(*, default: Any = MISSING) -> Any:
    """A neutral field that holds the path of a file or folder, or a list of such paths."""
    return _field(default, neutral=True, location=True)


def added(*, default: Any, bounds: Bounds | None = None) -> Any:
    """A field that was added after results were stored. At its default it is left out of the hash, so that older
    results are still found. Never change that default."""
    return _field(default, added=_Added(default), bounds=bounds)


def bounded(bounds: Bounds, *, default: Any = MISSING, default_factory: Any = MISSING) -> Any:
    """A field whose number lies within bounds. In a field that holds a list or table they bound every number in it."""
    return _field(default, default_factory, bounds=bounds)


def renamed(
    former: str,
    *,
    default: Any = MISSING,
    bounds: Bounds | None = None,
    former_values: Mapping[str, str] | None = None,
) -> Any:
    """A field that had another name when results were first stored. That name stays in every hash, and is still
    accepted (see `fitnets.config.former_keys`).

    former_values: present name of each renamed value, by its former name"""
    return _field(default, stored_as=former, bounds=bounds, former_values=former_values)


@dataclass(frozen=True, slots=True)
class _Added:
    default: Any


def _field(default: Any, default_factory: Any = MISSING, **marks: Any) -> Any:
    """A dataclass field with the marks that are set in its metadata."""
    metadata = {name: mark for name, mark in marks.items() if mark is not None}
    return field(default=default, default_factory=default_factory, metadata=metadata)


@overload
def option(cls: type[T], *, stored_as: str | None = None) -> type[T]: ...
@overload
def option(*, stored_as: str) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(kw_only_default=True, field_specifiers=(field, neutral, location, added, bounded, renamed))
def option(cls: type[T] | None = None, *, stored_as: str | None = None) -> Any:
    """Make a keyword-only dataclass of the class and register it in OPTIONS. A field without default is required.

    stored_as: the name of the class when results were first stored. It stays in every hash, so that those results are
    still found, and is still accepted in YAML files."""
    if cls is None:
        return partial(option, stored_as=stored_as)
    kind = dataclass(kw_only=True, slots=True)(cls)
    OPTIONS[kind.__name__] = kind
    if stored_as is not None:
        FORMER_NAMES[stored_as] = kind.__name__
        _STORED_NAMES[kind] = stored_as
    return kind


def former_option(stored_as: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Mark a function that makes the present option from the values of an option class of earlier versions.

    stored_as: the name of that class. It is still accepted in stored configurations and in YAML files."""

    def register(make: Callable[..., T]) -> Callable[..., T]:
        FORMER_OPTIONS[stored_as] = make
        return make

    return register


def locations(value: Any, key: str = "") -> Iterator[tuple[Any, str, str]]:
    """Yield (option, name of the field, dotted key) of every `location` in a tree of options."""
    if not is_dataclass(value):
        return
    for item in fields(value):
        dotted = f"{key}.{item.name}" if key else item.name
        if "location" in item.metadata:
            yield value, item.name, dotted
        else:
            yield from locations(getattr(value, item.name), dotted)


def absolute(value: T, folder: Path) -> T:
    """Copy an option and make its relative paths absolute, taken from a folder. `store` stays as it is: the copy is
    kept inside the store."""
    copied = deepcopy(value)
    for option, name, key in locations(copied):
        if key != "store":
            setattr(option, name, _below(folder, getattr(option, name)))
    return copied


def _below(folder: Path, path: Any) -> Any:
    if isinstance(path, list):
        return [_below(folder, member) for member in path]
    return str(folder / expanded(path)) if isinstance(path, str) else path


def plain(value: Any, *, hashed: bool = False) -> Any:
    """Convert a value to JSON types. Each option becomes a table with the name of its class under `_type_`.

    hashed: keep only what determines a result, under the names that hashes use, and write 4.0 as 4"""
    if is_dataclass(value) and not isinstance(value, type):
        if not hashed:
            return {"_type_": type(value).__name__, **plain({f.name: getattr(value, f.name) for f in fields(value)})}
        kept = {stored_name(f): getattr(value, f.name) for f in fields(value) if not _is_silent(value, f)}
        return {"_type_": _STORED_NAMES.get(type(value), type(value).__name__), **plain(kept, hashed=True)}
    if isinstance(value, dict):
        return {str(key): plain(item, hashed=hashed) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, hashed=hashed) for item in value]
    if hashed and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def stored_name(field: Field[Any]) -> str:
    """The first name of a field, which hashes and configurations of earlier versions have."""
    return str(field.metadata.get("stored_as", field.name))


def bounds_of(field: Field[Any]) -> Bounds | None:
    return field.metadata.get("bounds")


def current_value(field: Field[Any], value: Any) -> Any:
    """The value of a field under its present name."""
    former_values = field.metadata.get("former_values", {})
    return former_values.get(value, value) if isinstance(value, str) else value


def _is_silent(option: Any, field: Field[Any]) -> bool:
    """Return whether the field is left out of the hash."""
    mark = field.metadata.get("added")
    return "neutral" in field.metadata or (mark is not None and getattr(option, field.name) == mark.default)


def restore(value: Any) -> Any:
    """Invert `plain`: turn a stored `config.yaml` into a Config again, without Hydra. Former names of classes, keys and
    values are accepted. Raises TypeError if an option has a key under both its former and its present name."""
    if isinstance(value, list):
        return [restore(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = {key: restore(item) for key, item in value.items() if key != "_type_"}
    if "_type_" not in value:
        return items
    name: str = value["_type_"]
    if name in FORMER_OPTIONS:
        return FORMER_OPTIONS[name](**items)
    kind = OPTIONS[FORMER_NAMES.get(name, name)]
    for option_field in fields(kind):
        former = stored_name(option_field)
        if former != option_field.name and former in items:
            if option_field.name in items:
                raise TypeError(f"{name} has both {former} and {option_field.name}, which are the same key")
            items[option_field.name] = items.pop(former)
        if option_field.name in items:
            items[option_field.name] = current_value(option_field, items[option_field.name])
    return kind(**items)


def content_hash(*parts: Any) -> str:
    """The hash of what determines a result: 16 hexadecimal digits."""
    text = json.dumps([1, plain(parts, hashed=True)], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
