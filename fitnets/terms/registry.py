"""Finds the losses, and makes their options from the tables of a method.

A loss is a module of `fitnets.terms.losses` with one subclass of `Loss`. Losses import PyTorch, so this module imports
them only when a method is read.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitnets.config import Method, Ramp
from fitnets.config.methods import Table, kind
from fitnets.errors import ConfigError, suggest

if TYPE_CHECKING:
    from fitnets.terms.loss import Loss

_FOLDER = Path(__file__).with_name("losses")


@cache
def names() -> list[str]:
    """The kinds of terms that there are, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules([str(_FOLDER)]))


@cache
def loss_class(name: str) -> "type[Loss]":
    """The option class of a kind of term."""
    from fitnets.terms.loss import Loss

    module = importlib.import_module(f"fitnets.terms.losses.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Loss) and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__name__} must have one subclass of Loss"
    return found[0]


def class_of(key: str, name: str, table: Table) -> "type[Loss]":
    """The option class of a term. Raises ConfigError if there is no such loss.

    key: dotted key of the term, for messages
    name: the term's name"""
    wanted = kind(name, table)
    if "target" in table:
        if "loss" in table and wanted != "custom":
            raise ConfigError(f"{key}: loss={wanted} and target={table['target']}: give one of them")
        wanted = "custom"
    if wanted not in names():
        raise ConfigError(
            f"{key}: no loss {wanted}{suggest(wanted, names())} (losses: {', '.join(names())}; your own: "
            f"{key}.target=package.module.function)"
        )
    if name in names() and name != wanted:
        raise ConfigError(
            f"{key}: it has the name of the loss {name} and is of another kind, {wanted}: give it another name, and "
            f"leave {name} out with ~{key}"
        )
    return loss_class(wanted)


def option(key: str, name: str, table: Table) -> "Loss":
    """The option of a term from its table, whose values have the right types. Raises ConfigError for an unknown loss.

    key: dotted key of the term, for messages
    name: the term's name"""
    values = {name: value for name, value in table.items() if name != "loss"}
    if isinstance(weight := values.get("weight"), Mapping):
        values["weight"] = Ramp(**weight)
    return class_of(key, name, table)(**values)


def options(method: Method, stage: str) -> "dict[str, Loss]":
    """The options of a stage's terms by name, in the order in which the losses are added.

    This order, and everything else about a term, does not depend on the order in which the terms were given. Terms of
    weight 0 are left out."""
    counted = {name: one for name, one in given_options(method, stage).items() if not is_nothing(one.weight)}
    return dict(sorted(counted.items(), key=lambda item: (item[1].position, item[0])))


def given_options(method: Method, stage: str) -> "dict[str, Loss]":
    """The options of all terms of a stage by name, as they were given, with their weights times
    `method.teaching_weight`."""
    found = {name: option(term_key(stage, name), name, table) for name, table in method.stages[stage].terms.items()}
    if stage != "student" or method.teaching_weight == 1:
        return found
    return {name: _scaled(one, method.teaching_weight) if one.reads_teacher else one for name, one in found.items()}


def is_nothing(weight: float | Ramp) -> bool:
    """Return whether a weight is 0 in every epoch."""
    return max(weight.start, weight.end) == 0 if isinstance(weight, Ramp) else weight == 0


def _scaled(option: "Loss", factor: float) -> "Loss":
    weight = option.weight
    if isinstance(weight, Ramp):
        return replace(option, weight=replace(weight, start=factor * weight.start, end=factor * weight.end))
    return replace(option, weight=factor * weight)


def all_options(method: Method) -> "Iterator[tuple[str, Loss]]":
    """(dotted key, option) of all terms of a method."""
    for stage in method.stages:
        for name, one in options(method, stage).items():
            yield term_key(stage, name), one


def term_key(stage: str, name: str) -> str:
    """The dotted key of a term."""
    return f"method.stages.{stage}.terms.{name}"


def table_of(option: "Loss") -> Table:
    """The table of an option, with all its keys."""
    from fitnets.config.options import plain

    values: dict[str, Any] = {}
    for field in fields(option):
        value = getattr(option, field.name)
        values[field.name] = asdict(value) if isinstance(value, Ramp) else plain(value)
    return {"loss": option.kind} | values


# --- facts about a method ---


def needs_teacher(method: Method) -> bool:
    """Return whether the student learns from a teacher's outputs or layers; other methods use the labels alone."""
    return any(option.reads_teacher for _, option in all_options(method))


def reads_hints(method: Method) -> bool:
    """Return whether a term reads the teacher's hint layers."""
    return any(option.at == "pairs" for _, option in all_options(method))


def needs_pair(method: Method) -> bool:
    """Return whether the method has terms at the layers of `hint_layer`, or trains the student up to one of them."""
    return "hint" in method.stages or any(option.at is not None for _, option in all_options(method))
