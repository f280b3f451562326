"""Class names of data sets and of trained networks, and how the labels of one become labels of the other."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from fitnets.config import Dataset
from fitnets.data import sources
from fitnets.errors import ConfigError
from fitnets.store.earlier_runs import StoredNetwork

_LISTED = 8


class ClassNames(NamedTuple):
    """names: one for each class, in the order of the labels; None where they are unknown.
    note: what a user has to know about where the names come from; None if there is nothing to say."""

    names: list[str] | None
    note: str | None = None


def of_data(dataset: Dataset) -> ClassNames:
    """The class names of a data set, as many as `dataset.classes`.

    Raises ConfigError where the files are missing or name their classes differently."""
    names, wanted = sources.class_names(dataset), dataset.classes
    if names is None:
        return ClassNames(None)
    if len(set(names)) < len(names):
        return ClassNames(None, f"{described(dataset)} gives one name to several classes: its names are not used")
    if len(names) == wanted:
        return ClassNames(names)
    filled = [*names[:wanted], *(str(label) for label in range(len(names), wanted))]
    return ClassNames(
        filled if len(set(filled)) == wanted else None,
        f"{described(dataset)} names {len(names)} classes and dataset.classes={wanted}: "
        + (f"the last {len(names) - wanted} names are not used" if len(names) > wanted else "the others have numbers"),
    )


def of_network(network: StoredNetwork) -> ClassNames:
    """The class names that a network was trained with: those that its run recorded. Runs of earlier versions recorded
    none: theirs are read from their data, where those are still there."""
    recorded = network.recorded()
    if "classes" in recorded:
        return ClassNames(recorded["classes"])
    folder = network.weights.parent
    try:
        names = of_data(network.config.dataset).names
    except ConfigError:
        names = None
    if names is None:
        return ClassNames(None, f"{folder} is of an earlier version and does not name its classes")
    return ClassNames(names, f"{folder} is of an earlier version: its class names are those that its data have now")


def numbered(names: list[str] | None, classes: int) -> list[str]:
    """A name for every class: its number where the names are unknown."""
    return names if names is not None else [str(label) for label in range(classes)]


def listed(names: Sequence[str]) -> str:
    """'a, b, c', cut after some."""
    return ", ".join(names[:_LISTED]) + f", ... ({len(names)} in all)" * (len(names) > _LISTED)


def are_equal(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order. Unicode's two ways to write one letter are equal."""
    return _keys(first) == _keys(second)


def labels_in(network: Sequence[str], data: Sequence[str]) -> list[int]:
    """The label that the network has for each class of the data, by name.

    Raises ValueError with the names of the data that the network does not know."""
    places = {key: label for label, key in enumerate(_keys(network))}
    unknown = [name for name, key in zip(data, _keys(data), strict=True) if key not in places]
    if unknown:
        raise ValueError(listed(unknown))
    return [places[key] for key in _keys(data)]


def _keys(names: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in names]


def described(dataset: Dataset) -> str:
    """The key with which a user gave the data."""
    path = getattr(dataset, "path", None)
    return f"dataset.path={path}" if path else f"dataset={dataset.name}"
