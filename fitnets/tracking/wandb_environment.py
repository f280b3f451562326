"""Variables of the environment that W&B reads: those that count here, and those that do not, since every run has an id,
a name and a folder of its own.

| variable | here |
|---|---|
| `WANDB_MODE`, `_PROJECT`, `_ENTITY`, `_RUN_GROUP`, `_TAGS`, `_DISABLED` | count where `tracker.*` leaves it open |
| `WANDB_RUN_ID`, `_NAME`, `_RESUME`, `_DIR`, `_JOB_TYPE`, `_SWEEP_ID` and the like | do not count |
| all others (`WANDB_API_KEY`, `_BASE_URL`, `_NOTES`, ...) | W&B reads them itself |
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fitnets.config import Wandb
from fitnets.errors import ConfigError

UNUSED = {  # variable: what stands in its place
    "WANDB_RUN_ID": "each run has an id of its own",
    "WANDB_RESUME": "a run that goes on keeps its id",
    "WANDB_RESUME_FROM": "a run that goes on keeps its id",
    "WANDB_FORK_FROM": "each run has an id of its own",
    "WANDB_NAME": "runs are named after student and hash",
    "WANDB_DIR": "its files lie in the run's folder",
    "WANDB_JOB_TYPE": "that is the method",
    "WANDB_SWEEP_ID": "studies are +sweeps=...",
    "WANDB_SWEEP_PARAM_PATH": "studies are +sweeps=...",
}
_COUNTED = {  # variable: key of the tracker
    "WANDB_PROJECT": "project",
    "WANDB_ENTITY": "entity",
    "WANDB_RUN_GROUP": "group",
    "WANDB_TAGS": "tags",
}
_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
_TRUE = ("true", "1", "yes", "on")
_DEFAULTS = {"project": "fitnets", "mode": "offline"}


def settled(settings: Wandb, environment: Mapping[str, str] = os.environ) -> Wandb:
    """The settings, where what `tracker.*` leaves open comes from the environment. Raises ConfigError for a WANDB_MODE
    that there is not."""
    found: dict[str, Any] = {}
    for variable, key in _COUNTED.items():
        if environment.get(variable) and not getattr(settings, key):
            value = environment[variable]
            found[key] = [tag.strip() for tag in value.split(",") if tag.strip()] if key == "tags" else value
    if settings.mode is None and (mode := _mode(environment)) is not None:
        found["mode"] = mode
    for key, value in _DEFAULTS.items():
        if getattr(settings, key) is None:
            found.setdefault(key, value)
    return replace(settings, **found)


def _mode(environment: Mapping[str, str]) -> str | None:
    if environment.get("WANDB_DISABLED", "").lower() in _TRUE:
        return "disabled"
    given = environment.get("WANDB_MODE")
    if not given:
        return None
    if given.lower() not in _MODES:
        raise ConfigError(f"WANDB_MODE={given}: give online, offline or disabled, or tracker.mode=...")
    return _MODES[given.lower()]


def unused(settings: Wandb, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that are set and do not count, with the reason. settings: as `settled` gives them."""
    found = {name: reason for name, reason in UNUSED.items() if environment.get(name)}
    for variable, key in {**_COUNTED, "WANDB_MODE": "mode", "WANDB_DISABLED": "mode"}.items():
        given, used = environment.get(variable), getattr(settings, key)
        if not given or used is None:
            continue
        shown = ",".join(used) if isinstance(used, list) else str(used)
        if not set(_normal(variable, given).split(",")) <= set(shown.split(",")):
            found[variable] = f"tracker.{key}={shown}"
    return found


def _normal(variable: str, value: str) -> str:
    if variable == "WANDB_MODE":
        return _MODES.get(value.lower(), value)
    if variable == "WANDB_DISABLED":
        return "disabled" if value.lower() in _TRUE else ""
    return ",".join(part.strip() for part in value.split(","))


@contextmanager
def without_unused(environment: Any = os.environ) -> Iterator[None]:
    """Hide the variables that do not count: W&B prefers a sweep's to the arguments that it is given."""
    hidden = {name: environment.pop(name) for name in UNUSED if name in environment}
    try:
        yield
    finally:
        environment.update(hidden)
