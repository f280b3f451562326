"""What the typed configuration is made of: option classes, errors told in short, plain values, content hashes.

Standard library only, like the package `config`, so that `--help` and `--cfg job` stay fast.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
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
"""Names of option classes by the name that they were first stored under, where the two differ."""
_STORED_NAMES: dict[type[Any], str] = {}


def neutral(*, default: Any = MISSING, default_factory: Any = MISSING) -> Any:
    """A field that cannot change a result (a location, a label): part of no hash."""
    return field(default=default, default_factory=default_factory, metadata={"neutral": True})


def location(*, default: Any = MISSING) -> Any:
    """A neutral field that holds the path of a file or folder, or a list of them."""
    return field(default=default, metadata={"neutral": True, "location": True})


def added(*, default: Any) -> Any:
    """A field that came after results were stored. default: what they were made with; it is part of no hash, so that
    they are found again. It may never change."""
    return field(default=default, metadata={"added": default})


def renamed(former: str, *, default: Any = MISSING) -> Any:
    """A field that had another name when results were first stored. That name stays in every hash."""
    return field(default=default, metadata={"stored_as": former})


@overload
def option(cls: type[T], *, stored_as: str | None = None) -> type[T]: ...
@overload
def option(*, stored_as: str) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(kw_only_default=True, field_specifiers=(field, neutral, location, added, renamed))
def option(cls: type[T] | None = None, *, stored_as: str | None = None) -> Any:
    """Make a keyword-only dataclass of the class and let Hydra know it. A field without default is required.

    stored_as: the name of the class when results were first stored. It stays in every hash, so that they are found
    again, and is still accepted in YAML files."""
    if cls is None:
        return partial(option, stored_as=stored_as)
    kind = dataclass(kw_only=True, slots=True)(cls)
    OPTIONS[kind.__name__] = kind
    if stored_as is not None:
        FORMER_NAMES[stored_as] = kind.__name__
        _STORED_NAMES[kind] = stored_as
    return kind


def locations(value: Any, key: str = "") -> Iterator[tuple[Any, str, str]]:
    """(option, name of its field, dotted key) of every `location` in a tree of options."""
    if not is_dataclass(value):
        return
    for item in fields(value):
        dotted = f"{key}.{item.name}" if key else item.name
        if "location" in item.metadata:
            yield value, item.name, dotted
        else:
            yield from locations(getattr(value, item.name), dotted)


def absolute(value: T, folder: Path) -> T:
    """A copy of an option whose relative paths are taken from a folder, so that they hold in every other one. `store`
    stays: that is where the copy lies."""
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
    """The value in JSON types, each option with its type's name. `hashed`: only what determines a result, 4.0 and 4
    alike."""
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
    """The key of a field in hashes and in configurations that earlier versions stored."""
    return str(field.metadata.get("stored_as", field.name))


def _is_silent(option: Any, field: Field[Any]) -> bool:
    """Whether the field tells nothing of the result."""
    is_as_before = "added" in field.metadata and getattr(option, field.name) == field.metadata["added"]
    return "neutral" in field.metadata or is_as_before


def restore(value: Any) -> Any:
    """The inverse of `plain`: a stored `config.yaml` becomes a Config again, without Hydra."""
    if isinstance(value, list):
        return [restore(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = {key: restore(item) for key, item in value.items() if key != "_type_"}
    if "_type_" not in value:
        return items
    name: str = value["_type_"]
    kind = OPTIONS[FORMER_NAMES.get(name, name)]
    present = {stored_name(f): f.name for f in fields(kind)}
    return kind(**{present.get(key, key): item for key, item in items.items()})


def content_hash(*parts: Any) -> str:
    """16 hexadecimal digits of what determines a result."""
    text = json.dumps([1, plain(parts, hashed=True)], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
