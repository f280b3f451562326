"""What a study is about: its search space, its objectives, and all that every trial has in common."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import optuna
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.distributions import distribution_to_json

from fitnets.composition import overrides
from fitnets.config import former_keys
from fitnets.config.measures import LATENCIES, MEASURES, NAMES, PRUNABLE
from fitnets.errors import ConfigError, near
from fitnets.sweeper.storage import Direction
from fitnets.sweeper.trials import Space

_NO_PART = ("store", "tracker", "test", "rerun", "return_measures")  # of what a trial comes to


def parsed(params: dict[str, Any], arguments: list[str]) -> tuple[Space, list[str]]:
    """(the search space, the overrides that all jobs share). A key on the command line wins over one in `params`."""
    former_keys.refuse_both(params, "hydra.sweeper.params: ")
    words = [*(overrides.of_value(name, value) for name, value in params.items()), *arguments]
    try:
        space, fixed, deletions = create_params_from_overrides([overrides.as_typed(word) for word in words])
    except (AssertionError, NotImplementedError, ValueError) as error:
        raise ConfigError(f"hydra.sweeper.params: {str(error) or 'no search space'}") from error
    space = {name: distribution for name, distribution in space.items() if name not in fixed}
    return space, [*(f"{name}={value}" for name, value in fixed.items()), *deletions]


def objectives(conf: DictConfig) -> dict[str, Direction]:
    """Directions by measure. Raises ConfigError for what is none."""
    names = list(conf.objectives)
    for name in names:
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise ConfigError(f"hydra.sweeper.objectives: {name}: no such measure{near(name, list(NAMES))} ({known})")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"hydra.sweeper.objectives={names}: give one measure or several different ones")
    if conf.pruner is not None and not (len(names) == 1 and names[0] in PRUNABLE):
        raise ConfigError(
            f"hydra.sweeper.pruner cuts trials short by one objective that is known after every epoch "
            f"({', '.join(PRUNABLE)}), and the objectives are {', '.join(names)}: give hydra.sweeper.pruner=null"
        )
    return {name: direction_of(name) for name in names}


def direction_of(measure: str) -> Direction:
    return "maximize" if MEASURES[measure].maximize else "minimize"


def shared_settings(config: DictConfig, space: Space, measures: Iterable[str]) -> dict[str, str]:
    """What the trials of a study share, by key: studies that agree in it are one. Where data lie is no part of it;
    device and threads are where a latency is measured, precision and views decide results."""
    job = config.copy()
    dataset = OmegaConf.get_type(job.dataset)
    with open_dict(job):
        engine = job.pop("engine")
        for key in ("hydra", *_NO_PART):
            job.pop(key, None)
    tree: Any = OmegaConf.to_container(job, resolve=True, throw_on_missing=False)
    for place in fields(dataset) if is_dataclass(dataset) else ():  # a typed node refuses to lose a key: hence the dict
        if "neutral" in place.metadata and place.name != "name":
            tree["dataset"].pop(place.name, None)
    told = {key: json.dumps(value) for key, value in _leaves(tree)}
    told |= {name: distribution_to_json(distribution) for name, distribution in space.items()}
    for key in ("precision", "views"):  # but for `auto`, by which studies began before there were these keys
        if engine[key] != "auto":
            told[f"engine.{key}"] = json.dumps(engine[key])
    if any(name in LATENCIES for name in measures):
        told |= {f"engine.{key}": json.dumps(engine[key]) for key in ("device", "threads")}
    return told


def space_of_study(study: optuna.Study, space: Space) -> Space:
    """The search space with the names that the study's trials use: those of its first command, which an earlier version
    may have begun under former names. The overrides of a job have the present names all the same."""
    stored: dict[str, str] = study.user_attrs.get("setting", {})
    names = {former_keys.current_key(key): key for key in stored}
    return {names.get(name, name): distribution for name, distribution in space.items()}


def _leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield key, tree
        return
    for name, item in tree.items():
        yield from _leaves(item, f"{key}.{name}" if key else str(name))


def check_same_study(study: optuna.Study, setting: dict[str, str]) -> None:
    """Raises ConfigError if the study was begun with another setting; writes it down if the study is new."""
    stored = study.user_attrs.get("setting")
    if stored is None:
        study.set_user_attr("setting", setting)
        return
    told = former_keys.current_keys(stored)
    different = sorted(key for key in told | setting if told.get(key) != setting.get(key))
    if different:
        key = different[0]
        more = f", and {len(different) - 1} more keys" if len(different) > 1 else ""
        raise ConfigError(
            f"study {study.study_name} was begun with {key}={told.get(key)}, not {setting.get(key)}{more}: "
            "give another hydra.sweeper.study_name"
        )
