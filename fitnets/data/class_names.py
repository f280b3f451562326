"""Class names of data sets and of trained networks, and the translation of one's labels into the other's."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from fitnets.config import Dataset
from fitnets.data import sources
from fitnets.errors import ConfigError
from fitnets.store.earlier_runs import StoredNetwork

_LISTED = 8
"""largest number of class names in a message"""


class ClassNames(NamedTuple):
    """Class names, and a note for the user about their origin."""

    names: list[str] | None
    """one name for each class, in the order of the labels; None if they are unknown"""
    note: str | None = None


def of_data(dataset: Dataset) -> ClassNames:
    """The class names of a data set, one for each of its `dataset.classes` labels.

    Raises ConfigError if files are missing, or if two files name the classes differently."""
    names, count = sources.class_names(dataset), dataset.classes
    if names is None:
        return ClassNames(None)
    if len(set(names)) < len(names):
        return ClassNames(None, f"{choice_of(dataset)} gives one name to several classes: its names are not used")
    if len(names) == count:
        return ClassNames(names)
    filled = [*names[:count], *(str(label) for label in range(len(names), count))]
    return ClassNames(
        filled if len(set(filled)) == count else None,
        f"{choice_of(dataset)} names {len(names)} classes and dataset.classes={count}: "
        + (f"the last {len(names) - count} names are not used" if len(names) > count else "the others have numbers"),
    )


def of_network(network: StoredNetwork) -> ClassNames:
    """The class names that a network was trained with, as its run recorded them. Runs of earlier versions recorded no
    names: those are read from the run's data set if it still exists."""
    recorded = network.read_record()
    if "classes" in recorded:
        return ClassNames(recorded["classes"])
    folder = network.weights.parent
    try:
        names = of_data(network.config.dataset).names
    except ConfigError:
        names = None
    if names is None:
        return ClassNames(None, f"{folder} was written by an earlier version and does not record its class names")
    return ClassNames(
        names, f"{folder} was written by an earlier version: its class names are read from its data as they are now"
    )


def number_labels(names: list[str] | None, classes: int) -> list[str]:
    """The names, or the number of each class if the names are unknown."""
    return names if names is not None else [str(label) for label in range(classes)]


def listed(names: Sequence[str]) -> str:
    """The names as 'a, b, c', or the first of them followed by ', ... (100 in all)'."""
    return ", ".join(names[:_LISTED]) + f", ... ({len(names)} in all)" * (len(names) > _LISTED)


def are_equal(first: Sequence[str], second: Sequence[str]) -> bool:
    """True if two lists name the same classes in the same order. Composed and decomposed Unicode letters are equal."""
    return _keys(first) == _keys(second)


def labels_in(network: Sequence[str], data: Sequence[str]) -> list[int]:
    """The network's label for each class of the data, matched by name.

    network, data: class names in the order of the labels.

    Raises ValueError with the names in the data that the network lacks."""
    label_of = {key: label for label, key in enumerate(_keys(network))}
    unknown = [name for name, key in zip(data, _keys(data), strict=True) if key not in label_of]
    if unknown:
        raise ValueError(listed(unknown))
    return [label_of[key] for key in _keys(data)]


def _keys(names: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in names]


def choice_of(dataset: Dataset) -> str:
    """The override that selects the data set, `dataset.path=...` or `dataset=...`."""
    path = getattr(dataset, "path", None)
    return f"dataset.path={path}" if path else f"dataset={dataset.name}"
