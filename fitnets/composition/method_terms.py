"""Completes the loss terms of a method, which users give as tables: checks their keys and types, adds the defaults."""

from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fitnets.composition.mistakes import short_message
from fitnets.errors import ConfigError, suggest
from fitnets.terms import registry


def complete(method: Any) -> None:
    """Replace the table of every term by one with all keys of its loss. Other mistakes are left to later checks.

    method: the node of `method` in a composed configuration

    Raises ConfigError for a loss that does not exist, an unknown key, or a value of another type."""
    if not isinstance(method, DictConfig) or OmegaConf.is_missing(method, "stages"):
        return
    for stage_name, stage in method.stages.items():
        if not isinstance(stage, DictConfig) or not isinstance(stage.get("terms"), DictConfig):
            continue
        for name in list(stage.terms):
            key = registry.term_key(str(stage_name), str(name))
            with open_dict(stage.terms):
                stage.terms[name] = _completed(key, str(name), stage.terms[name])


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
        raise ConfigError(f"{key}: {message}") from error
