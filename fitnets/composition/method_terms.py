"""Completes the loss terms of a method, which users give as tables: checks their keys and types, adds the defaults."""

from dataclasses import fields
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fitnets.composition.mistakes import short_message
from fitnets.config import MethodStage
from fitnets.errors import ConfigError, suggest
from fitnets.terms import registry


def complete(method: Any) -> None:
    """Replace the table of every term by one with all keys of its loss. Other mistakes are left to later checks.

    method: the node of `method` in a composed configuration

    Raises ConfigError for a loss that does not exist, an unknown key, or a value of another type."""
    if not isinstance(method, DictConfig) or OmegaConf.is_missing(method, "stages"):
        return
    for stage_name in list(method.stages):
        with open_dict(method.stages):
            method.stages[stage_name] = _stage(str(stage_name), method.stages[stage_name])


def _stage(name: str, node: Any) -> DictConfig:
    """The stage with complete terms, as a typed node."""
    key = f"method.stages.{name}"
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{key}={node}: a stage is a table of terms: give '+{key}.terms.label={{}}'")
    for unknown in [str(option) for option in node if option != "terms"]:
        raise ConfigError(f"{key}.{unknown}: no such key (keys of a stage: terms)")
    terms: Any = node.get("terms")
    if not isinstance(terms, DictConfig | None):
        raise ConfigError(f"{key}.terms={terms}: give a table of terms: '+{key}.terms.label={{}}'")
    tables = {} if terms is None else {str(term): terms[term] for term in terms}
    complete_terms = {term: _completed(registry.term_key(name, term), term, table) for term, table in tables.items()}
    return cast(DictConfig, OmegaConf.structured(MethodStage(terms=complete_terms)))


def _completed(key: str, name: str, node: Any) -> dict[str, Any]:
    given: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    if given is None:  # `attention:` in YAML
        given = {}
    if not isinstance(given, dict):
        raise ConfigError(f"{key}={given}: a term is a table of its options: give '{key}={{weight: 1}}'")
    kind = registry.class_of(key, name, given)
    names = [field.name for field in fields(kind)]
    for unknown in [option for option in given if option not in (*names, "loss")]:
        raise ConfigError(
            f"{key}.{unknown}: no such key{suggest(str(unknown), names)} (keys of this loss: {', '.join(names)})"
        )
    values = {option: value for option, value in given.items() if option != "loss"}
    if type(values.get("weight")) is int:
        values["weight"] = float(values["weight"])
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), values)
        for missing in OmegaConf.missing_keys(merged):
            raise ConfigError(f"{key}.{missing} has no value: give {key}.{missing}=...")
        return registry.table_of(OmegaConf.to_object(merged))  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        message = short_message(error)
        if "Union[float, Ramp]" in message:
            message = "a weight is a number, or {start: 0, end: 1, end_epoch: 20}"
        raise ConfigError(f"{'.'.join(filter(None, (key, error.full_key)))}: {message}") from error
