"""Finds out from the schema which keys hold text, and lists the keys of the configuration."""

import re
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.conf import HydraConf

from fitnets.config import Config

SCHEMAS: dict[str, type[Any]] = {"": Config, "hydra": HydraConf}
"""the dataclass that describes the keys below a prefix"""
PARAMS = "hydra.sweeper.params"
_HYDRA_PATHS = {"hydra.run.dir", "hydra.sweep.dir", "hydra.sweeper.directory", "hydra.sweeper.storage"}


def register(prefix: str, schema: type[Any]) -> None:
    """Register the dataclass that describes the keys below a prefix."""
    SCHEMAS[prefix] = schema
    text_of.cache_clear()


@dataclass(frozen=True, slots=True)
class Text:
    """A key that holds text.

    is_optional: the key may have no value, `null`
    is_list: the key holds a list of texts
    is_group: the key is a group, and its text the name of an option
    is_path: the text is the path of a file or folder"""

    is_optional: bool = False
    is_list: bool = False
    is_group: bool = False
    is_path: bool = False


@cache
def text_of(key: str) -> Text | None:
    """Return the kind of text that a dotted key holds by the schema, whichever options are chosen; None if it holds no
    text or does not exist."""
    if "/" in key or (key in _top() and _is_group(key)):
        return Text(is_group=True)
    key = re.sub(r"\[(\w+)\]", r".\1", key)
    prefix = max((name for name in SCHEMAS if f"{key}.".startswith(f"{name}." if name else "")), key=len)
    reached: list[tuple[Any, bool]] = [(SCHEMAS[prefix], False)]
    for part in key.removeprefix(f"{prefix}.").split("."):
        reached = [below for kind, is_path in reached for below in _below(kind, part, is_path)]
    members = [member for kind, _ in reached for member in _members(kind)]
    kinds = [member for member in members if member is not NoneType]
    are_lists = bool(kinds) and all(get_origin(kind) is list for kind in kinds)
    if are_lists:
        kinds = [element for kind in kinds for element in get_args(kind)]
    if not kinds or not all(kind is str or _is_literal_text(kind) for kind in kinds):
        return None
    is_path = all(is_path for _, is_path in reached) or key in _HYDRA_PATHS
    is_hydras = prefix != ""  # Hydra itself refuses a missing value of its keys
    return Text(is_optional=is_hydras or NoneType in members, is_list=are_lists, is_path=is_path)


def is_value(key: str) -> bool:
    """Return whether a top-level key holds a value and is no group of options."""
    return key in _top() and not _is_group(key)


def keys_ending(name: str) -> list[str]:
    """All dotted keys of the configuration, with any options, that end in a name: `lr` in
    `schedule.hint.optimizer.lr`."""
    return [key for key in all_keys() if f".{key}".endswith(f".{name}")]


def all_keys() -> list[str]:
    """All dotted keys of the configuration, with any options."""
    return list(dict.fromkeys(_keys(Config, "")))


# --- walking through types ---


def _top() -> list[str]:
    return [field.name for field in fields(Config)]


def _is_group(key: str) -> bool:
    return all(is_dataclass(member) for member in _members(_hints(Config)[key]))


def _is_literal_text(kind: Any) -> bool:
    return get_origin(kind) is Literal and all(isinstance(value, str) for value in get_args(kind))


def _members(kind: Any) -> list[Any]:
    """The members of a union; a list of the type itself for any other type."""
    if get_origin(kind) in (Union, UnionType):
        return [member for part in get_args(kind) for member in _members(part)]
    return [kind]


def _below(kind: Any, part: str, is_path: bool) -> Iterator[tuple[Any, bool]]:
    """Yield (type, whether it is a location) of each field or item of a type that one part of a key stands for."""
    for member in _members(kind):
        if is_dataclass(member) and isinstance(member, type):
            for field in fields(member):
                if field.name == part:
                    yield _hints(member)[part], _is_location(field)
        elif get_origin(member) is list and part.isdigit():
            yield get_args(member)[0], is_path
        elif get_origin(member) is dict:
            yield get_args(member)[1], False


def _keys(kind: Any, key: str) -> Iterator[str]:
    if key:
        yield key
    for member in _members(kind):
        if is_dataclass(member) and isinstance(member, type):
            for field in fields(member):
                yield from _keys(_hints(member)[field.name], f"{key}.{field.name}" if key else field.name)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_location(field: Field[Any]) -> bool:
    return "location" in field.metadata
