"""Short names for data sets and networks, so that those with the same option name can be told apart in tables."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LEFT_OUT = ("_type_", "name", "seed", "hint", "guided")
"""keys of a network that never appear in its short name"""
_PLACES = {"target": ".", "weights": "/", "path": "/", "members": "/", "hint_member": "/"}
"""keys that hold an import path or a file path, with the separator of its parts; a name has the last parts alone"""
_ALWAYS = ("path", "members")
"""keys that always appear, because the folder alone identifies a network of an earlier run"""

Network = Mapping[str, Any]
"""the option of a teacher or student in plain types, as in `config.yaml`, or its name and some of its values"""


def tails(places: Iterable[str], separator: str = "/") -> dict[str, str]:
    """The shortest unique ending of each path, in whole parts: 'a/photos' and 'b/photos' for two folders of one name,
    'birds' for a folder whose name is unique."""
    parts = {place: [part for part in place.split(separator) if part] or [place] for place in places}
    endings = {}
    for place, mine in parts.items():
        others = [other for other in parts.values() if other != mine]
        unique = (n for n in range(1, len(mine)) if all(mine[-n:] != other[-n:] for other in others))
        endings[place] = separator.join(mine[-next(unique, len(mine)) :])
    return endings


def datasets(pairs: Sequence[tuple[str | None, str | None]]) -> list[str | None]:
    """A name for each data set, given as (option, path of its files).

    `folder` and `photos` are named by their folder. Another option is named by itself, and also by its folder if the
    same option has files in several folders. The name is None where the option is None."""
    paths = [None if path is None else os.path.normpath(path) for _, path in pairs]
    options = [option for option, _ in pairs]
    of_option = {name: {path for other, path in zip(options, paths, strict=True) if other == name} for name in options}
    short = {name: tails(path for path in used if path is not None) for name, used in of_option.items()}
    names: list[str | None] = []
    for option, path in zip(options, paths, strict=True):
        tail = None if path is None else short[option][path]
        if option in ("folder", "photos") and tail is not None:
            names.append(tail)
        else:
            names.append(f"{option} in {tail}" if tail is not None and len(of_option[option]) > 1 else option)
    return names


def networks(options: Sequence[Network | None]) -> list[str | None]:
    """A name for each network: its option's name (for a custom network its target), and as many of its values as are
    needed to distinguish it from others of that name."""
    details = [None if option is None else _details(option) for option in options]
    names = [None if option is None else str(option.get("name")) for option in options]
    shown: list[str | None] = [None] * len(options)
    for name in dict.fromkeys(name for name in names if name is not None):
        rows = [index for index, other in enumerate(names) if other == name]
        members = [details[index] or {} for index in rows]
        for index, words in zip(rows, _distinguishing_words(members), strict=True):
            shown[index] = " ".join([name, *words])
    return shown


def _details(network: Network) -> dict[str, Any]:
    """The values of a network by key, the most distinctive first. Values of tables are listed by their own keys."""
    details: dict[str, Any] = {
        key: network[key] for key in _PLACES if network.get(key) not in (None, network.get("name"))
    }
    for key, value in network.items():
        if key in _LEFT_OUT or key in _PLACES:
            continue
        items = value.items() if isinstance(value, Mapping) else [(key, value)]
        details |= {name: item for name, item in items if item is not None and not isinstance(item, list | Mapping)}
    return details


def _distinguishing_words(members: list[dict[str, Any]]) -> list[list[str]]:
    """Return, for each member of a group, the words that distinguish it from the others. A key is used only if it
    distinguishes members that are alike in the keys before it."""
    keys = list(dict.fromkeys(key for member in members for key in member))
    chosen = [key for key in keys if key in _ALWAYS]
    distinct = {repr(sorted(member.items(), key=str)) for member in members}

    def count_distinct(keys: list[str]) -> int:
        return len({repr([member.get(key) for key in keys]) for member in members})

    for key in keys:
        if count_distinct(chosen) == len(distinct):
            break
        if key not in chosen and count_distinct([*chosen, key]) > count_distinct(chosen):
            chosen.append(key)
    shown = {key: _values([member.get(key) for member in members], key) for key in chosen}
    return [[shown[key][index] for key in chosen if shown[key][index]] for index in range(len(members))]


def _values(values: list[Any], key: str) -> list[str]:
    """The values of one key as text, '' for None."""
    separator = _PLACES.get(key)
    if separator is None:
        return ["" if value is None else f"{key}={value}" for value in values]
    lists = [value if isinstance(value, list) else [] if value is None else [value] for value in values]
    short = tails({str(place) for places in lists for place in places}, separator)
    return ["+".join(short[str(place)] for place in places) for places in lists]
