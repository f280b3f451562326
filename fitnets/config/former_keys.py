"""Keys of earlier versions that have another name now.

The former key of a field is declared beside it, with `options.renamed`. This module collects these keys, replaces them
in overrides and files of the user, and prints a line on standard error with the present key.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from fitnets.config import Config
from fitnets.config.options import stored_name
from fitnets.errors import ConfigError

_TABLES_OF_KEYS = ("hydra.sweeper.params", "hydra.sweeper.search_space", "hydra.sweeper.sampler.search_space")
"""tables whose own keys are dotted keys of the configuration"""


_MOVED = {
    "method.hint_weight": "method.stages.student.terms.hint.weight",
    "method.weight": "method.stages.student.terms.label_hint.weight",
}
"""present key by former key, of keys that have moved to another table"""


@dataclass(frozen=True, slots=True)
class FormerKeys:
    """keys: present dotted key by former dotted key
    values: present value by former value, for each present key that has such values"""

    keys: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]


@cache
def table() -> FormerKeys:
    """All former keys and values of the configuration."""
    keys, values = dict(_MOVED), {}
    for former, key, field in _walk(Config, ""):
        if former != key:
            keys[former] = key
        if field.metadata.get("former_values"):
            values[key] = field.metadata["former_values"]
    return FormerKeys(keys, values)


@cache
def added_defaults() -> dict[str, Any]:
    """The default of every key that was added after results were first stored. What lacks the key has this value."""
    return {key: field.metadata["added"].default for _, key, field in _walk(Config, "") if "added" in field.metadata}


def _walk(kind: Any, prefix: str) -> Iterator[tuple[str, str, Field[Any]]]:
    """Yield (former key, present key, field) of every field below an option class."""
    if not is_dataclass(kind):
        for member in get_args(kind):
            yield from _walk(member, prefix)
        return
    hints = get_type_hints(kind)
    for field in fields(kind):
        key = f"{prefix}{field.name}"
        yield f"{prefix}{stored_name(field)}", key, field
        yield from _walk(hints[field.name], f"{key}.")


def current_key(key: str) -> str:
    """The present name of a dotted key."""
    return table().keys.get(key, key)


def current_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """A flat table with the present names of its dotted keys."""
    return {current_key(key): value for key, value in given.items()}


def current_entry(key: str, value: Any, where: str = "") -> tuple[str, Any]:
    """The present dotted key, and the value by its present name. Each replaced name is announced.

    value: value of the key; in text, which may hold several choices, a former name is replaced wherever it stands
    where: text that comes before every message"""
    present_key, present_value = current_key(key), value
    if isinstance(value, str):
        for former, present in table().values.get(present_key, {}).items():
            if former in value:
                _announce(f"{key}={former}", f"{present_key}={present}", where)
                return present_key, value.replace(former, present)
        present_value = _INTERPOLATION.sub(lambda found: _interpolation(found[1], where), value)
    if present_key != key:
        _announce(key, present_key, where)
    return present_key, present_value


_INTERPOLATION = re.compile(r"\$\{([\w.]+)\}")


def _interpolation(key: str, where: str) -> str:
    present = current_key(key)
    if present != key:
        _announce(key, present, where)
    return f"${{{present}}}"


def current_tree(tree: Mapping[Any, Any], key: str = "", where: str = "") -> dict[Any, Any]:
    """A copy of a nested table with present names of keys and values. Each replaced name is announced.

    key: dotted key of the table itself
    where: text that comes before every message

    Raises ConfigError if the table has a key under both names."""
    holds_keys = key in _TABLES_OF_KEYS
    dotted = {name: str(name) if holds_keys or not key else f"{key}.{name}" for name in tree}
    refuse_both(dotted.values(), where)
    current = {}
    for name, value in tree.items():
        present, item = current_entry(dotted[name], value, where)
        item = current_tree(item, present, where) if isinstance(item, dict) else item
        if present == dotted[name] or holds_keys:
            current[name if present == dotted[name] else present] = item
            continue
        *tables, last = present.removeprefix(f"{key}.").split(".")  # a key may have moved to a table inside this one
        inner = current
        for table_name in tables:
            inner = inner.setdefault(table_name, {})
        inner[last] = item
    return current


def refuse_both(keys: Iterable[str], where: str = "") -> None:
    """Raise ConfigError if the keys include one under both its former and its present name."""
    given = set(keys)
    for former, present in table().keys.items():
        if former in given and present in given:
            raise ConfigError(
                f"{where}{former} and {present} are the same key, by its former and its present name: give {present} "
                "alone"
            )


_announced: set[str] = set()


def _announce(former: str, present: str, where: str) -> None:
    """Print the present name on standard error, once in a process."""
    if former not in _announced:
        _announced.add(former)
        print(f"{where}{former} is called {present} now: please use the new name", file=sys.stderr)
