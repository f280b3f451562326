"""Short names that tell data sets and networks apart where their options are called alike."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_UNTOLD = ("_type_", "name", "seed", "hint", "guided")
"""keys of a network that are no part of its name"""
_PLACES = {"target": ".", "weights": "/", "path": "/", "members": "/", "hint_member": "/"}
"""keys that hold places, of which the last parts suffice, with the separator of their parts"""
_ALWAYS = ("path", "members")
"""keys without which the name of a network says nothing"""

Network = Mapping[str, Any]
"""an option of teacher or student in plain types, as `config.yaml` has it, or its name and some of its values"""


def tails(places: Iterable[str], separator: str = "/") -> dict[str, str]:
    """For each place the fewest last parts that no other place ends with: 'a/photos' and 'b/photos', but 'birds'."""
    parts = {place: [part for part in place.split(separator) if part] or [place] for place in places}
    found = {}
    for place, own in parts.items():
        others = [other for other in parts.values() if other != own]
        enough = (n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others))
        found[place] = separator.join(own[-next(enough, len(own)) :])
    return found


def datasets(found: Sequence[tuple[str | None, str | None]]) -> list[str | None]:
    """A name for each (option, path of its files): of `folder` the folder's name; of another option the option, and
    the folder too where the same option has files in several. None where the option is None."""
    normal = [None if path is None else os.path.normpath(path) for _, path in found]
    names = [name for name, _ in found]
    paths = {name: {path for other, path in zip(names, normal, strict=True) if other == name} for name in set(names)}
    short = {name: tails(path for path in own if path is not None) for name, own in paths.items()}
    shown: list[str | None] = []
    for name, path in zip(names, normal, strict=True):
        tail = None if path is None else short[name][path]
        if name == "folder" and tail is not None:
            shown.append(tail)
        else:
            shown.append(f"{name} in {tail}" if tail is not None and len(paths[name]) > 1 else name)
    return shown


def networks(found: Sequence[Network | None]) -> list[str | None]:
    """A name for each network: that of its option (of a custom one its target), with as many of its values as tell it
    from others of that name."""
    details = [None if network is None else _details(network) for network in found]
    names = [None if network is None else str(network.get("name")) for network in found]
    shown: list[str | None] = [None] * len(found)
    for name in dict.fromkeys(name for name in names if name is not None):
        members = [index for index, other in enumerate(names) if other == name]
        own = [details[index] or {} for index in members]
        for index, words in zip(members, _apart(own), strict=True):
            shown[index] = " ".join([name, *words])
    return shown


def _details(network: Network) -> dict[str, Any]:
    """What can be said of a network, the most telling first; the values of tables by their keys."""
    found: dict[str, Any] = {
        key: network[key] for key in _PLACES if network.get(key) not in (None, network.get("name"))
    }
    for key, value in network.items():
        if key in _UNTOLD or key in _PLACES:
            continue
        items = value.items() if isinstance(value, Mapping) else [(key, value)]
        found |= {name: item for name, item in items if item is not None and not isinstance(item, list | Mapping)}
    return found


def _apart(members: list[dict[str, Any]]) -> list[list[str]]:
    """The words that tell the members of a group apart, each key that differs at most once."""
    keys = list(dict.fromkeys(key for member in members for key in member))
    chosen = [key for key in keys if key in _ALWAYS]
    distinct = {repr(sorted(member.items(), key=str)) for member in members}

    def told(keys: list[str]) -> int:
        return len({repr([member.get(key) for key in keys]) for member in members})

    for key in keys:
        if told(chosen) == len(distinct):
            break
        if key not in chosen and told([*chosen, key]) > told(chosen):
            chosen.append(key)
    shown = {key: _values([member.get(key) for member in members], key) for key in chosen}
    return [[shown[key][index] for key in chosen if shown[key][index]] for index in range(len(members))]


def _values(values: list[Any], key: str) -> list[str]:
    """The values of a key in words; nothing for those that have none."""
    separator = _PLACES.get(key)
    if separator is None:
        return ["" if value is None else f"{key}={value}" for value in values]
    lists = [value if isinstance(value, list) else [] if value is None else [value] for value in values]
    short = tails({str(place) for places in lists for place in places}, separator)
    return ["+".join(short[str(place)] for place in places) for places in lists]
