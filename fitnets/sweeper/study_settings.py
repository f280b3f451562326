"""The settings that make a study: its search space, its objectives, and everything that all its trials share."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.distributions import distribution_to_json

from fitnets.composition import method_terms, overrides
from fitnets.config import Method, former_keys, methods
from fitnets.config.measures import LATENCIES, MEASURES, NAMES, PRUNABLE
from fitnets.errors import ConfigError, suggest
from fitnets.sweeper import internals
from fitnets.sweeper.storage import Direction
from fitnets.sweeper.trials import Space
from fitnets.terms import registry

_CHANGES_NO_RESULT = ("store", "tracker", "test", "rerun", "return_measures")


def parsed(params: dict[str, Any], arguments: list[str]) -> tuple[Space, list[str]]:
    """Parse `params` and the command line into (search space, overrides that all jobs share).

    A key on the command line replaces the same key in `params`. Raises ConfigError for an invalid search space.
    """
    former_keys.refuse_both(params, "hydra.sweeper.params: ")
    words = [*(overrides.of_value(name, value) for name, value in params.items()), *arguments]
    try:
        space, fixed, deletions = internals.search_space([overrides.as_typed(word) for word in words])
    except (AssertionError, NotImplementedError, ValueError) as error:
        raise ConfigError(f"hydra.sweeper.params: {str(error) or 'no search space'}") from error
    space = {name: distribution for name, distribution in space.items() if name not in fixed}
    return space, [*(f"{name}={value}" for name, value in fixed.items()), *deletions]


def objectives(conf: DictConfig) -> dict[str, Direction]:
    """The direction of each objective. Raises ConfigError for unknown measures, and for a pruner that does not fit."""
    names = list(conf.objectives)
    for name in names:
        if name not in NAMES:
            allowed = ", ".join(NAMES)
            raise ConfigError(
                f"hydra.sweeper.objectives: {name}: no such measure{suggest(name, list(NAMES))} ({allowed})"
            )
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"hydra.sweeper.objectives={names}: give one measure or several different ones")
    if conf.pruner is not None and not (len(names) == 1 and names[0] in PRUNABLE):
        raise ConfigError(
            f"hydra.sweeper.pruner ends trials early by a single objective that is measured after every epoch "
            f"({', '.join(PRUNABLE)}), and the objectives are {', '.join(names)}: give hydra.sweeper.pruner=null"
        )
    return {name: direction_of(name) for name in names}


def direction_of(measure: str) -> Direction:
    return "maximize" if MEASURES[measure].maximize else "minimize"


_FORMER_CHOICES = ("method.distill", "method.staged", "method.whole")
_FORMER_METHOD = ("method.hint_weight", "method.weight", *_FORMER_CHOICES)
"""keys that methods had in studies of earlier versions"""
_WITHOUT_KEYS: dict[str, Callable[[], Method]] = {
    "hints": methods.hints,
    "kd": methods.distill,
    "backprop": methods.backprop,
    "mimic": methods.mimic,
}
"""methods of earlier versions that had no keys"""
_STAGES = "method.stages."


def shared_settings(config: DictConfig, space: Space, measures: Iterable[str]) -> dict[str, str]:
    """Collect the settings that all trials of a study share, as JSON by key. Commands with equal settings join one
    study.

    Paths of data do not count. Precision and views count because they change results. Device and threads count if a
    latency is measured.
    """
    job = config.copy()
    method_terms.complete(job.get("method"))
    dataset = OmegaConf.get_type(job.dataset)
    with open_dict(job):
        engine = job.pop("engine")
        for key in ("hydra", *_CHANGES_NO_RESULT):
            job.pop(key, None)
    tree: Any = OmegaConf.to_container(job, resolve=True, throw_on_missing=False)
    for option in fields(dataset) if is_dataclass(dataset) else ():
        if "neutral" in option.metadata and option.name != "name":
            tree["dataset"].pop(option.name, None)  # `tree` is a dict because a typed node refuses to lose a key
    settings = {key: json.dumps(value) for key, value in _leaves(tree)}
    settings |= {name: distribution_to_json(distribution) for name, distribution in space.items()}
    for key in ("precision", "views"):
        if engine[key] != "auto":  # studies that are older than these keys have the settings of `auto`
            settings[f"engine.{key}"] = json.dumps(engine[key])
    if any(name in LATENCIES for name in measures):
        settings |= {f"engine.{key}": json.dumps(engine[key]) for key in ("device", "threads")}
    return settings


def space_of_study(study: optuna.Study, space: Space) -> Space:
    """Rename the keys of the search space to the names that the study's first command gave them.

    A study of an earlier version may have former names. The overrides of its jobs have the present names.
    """
    stored: dict[str, str] = study.user_attrs.get("setting", {})
    names = {former_keys.current_key(key): key for key in stored}
    return {names.get(name, name): distribution for name, distribution in space.items()}


def _leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield key, tree
        return
    for name, item in tree.items():
        yield from _leaves(item, f"{key}.{name}" if key else str(name))


def check_same_study(study: optuna.Study, settings: dict[str, str]) -> None:
    """Raise ConfigError if the study was started with other settings. A new study stores its settings."""
    stored = study.user_attrs.get("setting")
    if stored is None:
        study.set_user_attr("setting", settings)
        return
    stored = former_keys.current_keys(_with_present_method(stored))
    if not any(key.startswith(_STAGES) for key in stored):  # an earlier version's method under a name of the user's
        settings = {key: value for key, value in settings.items() if not key.startswith(_STAGES)}
    different = sorted(key for key in stored | settings if _value(stored, key) != _value(settings, key))
    if different:
        key = different[0]
        more = f", and {len(different) - 1} more keys" if len(different) > 1 else ""
        raise ConfigError(
            f"study {study.study_name} was started with {key}={stored.get(key)}, not {settings.get(key)}{more}: "
            "give another hydra.sweeper.study_name"
        )


def _value(settings: dict[str, str], key: str) -> Any:
    """The value of a setting; a key that was added later has its default in older studies."""
    return json.loads(settings[key]) if key in settings else former_keys.added_defaults().get(key)


def _with_present_method(stored: dict[str, str]) -> dict[str, str]:
    """The settings of a study of any version, with the method as its stages and complete loss terms."""
    if any(key.startswith(_STAGES) for key in stored):
        return stored
    former = {key for key in stored if key in _FORMER_METHOD}
    values = {key.removeprefix("method."): json.loads(stored[key]) for key in former if key in _FORMER_CHOICES}
    name = json.loads(stored.get("method.name", "null"))
    if "method.staged" in former:
        method = methods.label_hints(**values)
    elif former:
        method = methods.joint(**values) if "method.distill" in former else methods.deeply_supervised()
    elif name in _WITHOUT_KEYS:
        method = _WITHOUT_KEYS[name]()
    else:
        return stored
    tree = {
        stage: {"terms": {term: registry.table_of(one) for term, one in registry.given_options(method, stage).items()}}
        for stage in method.stages
    }
    terms = {f"{_STAGES}{key}": json.dumps(value) for key, value in _leaves(tree)}
    weights = {former_keys.current_key(key): stored[key] for key in former if key not in _FORMER_CHOICES}
    return {key: value for key, value in stored.items() if key not in former} | terms | weights
