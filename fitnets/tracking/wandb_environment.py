"""The environment variables of W&B: which of them have an effect here.

Each run has an id, a name and a folder of its own, so variables that set these are ignored.

| variable | effect |
|---|---|
| `WANDB_MODE`, `_PROJECT`, `_ENTITY`, `_RUN_GROUP`, `_TAGS`, `_DISABLED` | fill in `tracker.*` where it is not set |
| `WANDB_RUN_ID`, `_NAME`, `_RESUME`, `_DIR`, `_JOB_TYPE`, `_SWEEP_ID` and the like | ignored |
| `WANDB_SERVICE` | ignored: each process has a service of its own |
| all others (`WANDB_API_KEY`, `_BASE_URL`, `_NOTES`, ...) | read by W&B itself |
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fitnets.config import Wandb
from fitnets.errors import ConfigError

UNUSED = {  # ignored variable: the reason
    "WANDB_RUN_ID": "each run has an id of its own",
    "WANDB_RESUME": "a resumed run keeps its id",
    "WANDB_RESUME_FROM": "a resumed run keeps its id",
    "WANDB_FORK_FROM": "each run has an id of its own",
    "WANDB_NAME": "runs are named after student and hash",
    "WANDB_DIR": "its files are in the run's folder",
    "WANDB_JOB_TYPE": "the job type is the method",
    "WANDB_SWEEP_ID": "studies are +sweeps=...",
    "WANDB_SWEEP_PARAM_PATH": "studies are +sweeps=...",
}
_SERVICE = "WANDB_SERVICE"
"""W&B sets it to the address of its service, and processes that are started later inherit it. A service outlives such a
process, and would refuse the run that goes on after the process was killed."""
_COUNTED = {  # variable: key of `tracker`
    "WANDB_PROJECT": "project",
    "WANDB_ENTITY": "entity",
    "WANDB_RUN_GROUP": "group",
    "WANDB_TAGS": "tags",
}
_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
_TRUE = ("true", "1", "yes", "on")
_DEFAULTS = {"project": "fitnets", "mode": "offline"}


def fill_in(settings: Wandb, environment: Mapping[str, str] = os.environ) -> Wandb:
    """Fill in the settings that `tracker.*` does not give: from the environment, else with defaults.

    Raises ConfigError for an unknown WANDB_MODE."""
    filled: dict[str, Any] = {}
    for variable, key in _COUNTED.items():
        if environment.get(variable) and not getattr(settings, key):
            value = environment[variable]
            filled[key] = [tag.strip() for tag in value.split(",") if tag.strip()] if key == "tags" else value
    if settings.mode is None and (mode := _mode(environment)) is not None:
        filled["mode"] = mode
    for key, value in _DEFAULTS.items():
        if getattr(settings, key) is None:
            filled.setdefault(key, value)
    return replace(settings, **filled)


def _mode(environment: Mapping[str, str]) -> str | None:
    """The mode that WANDB_DISABLED or WANDB_MODE sets; None if neither is set."""
    if environment.get("WANDB_DISABLED", "").lower() in _TRUE:
        return "disabled"
    mode = environment.get("WANDB_MODE")
    if not mode:
        return None
    if mode.lower() not in _MODES:
        raise ConfigError(f"WANDB_MODE={mode}: give online, offline or disabled, or tracker.mode=...")
    return _MODES[mode.lower()]


def unused_variables(settings: Wandb, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that are set and have no effect, with the reason.

    settings: as `fill_in` returns them"""
    ignored = {name: reason for name, reason in UNUSED.items() if environment.get(name)}
    for variable, key in {**_COUNTED, "WANDB_MODE": "mode", "WANDB_DISABLED": "mode"}.items():
        value, setting = environment.get(variable), getattr(settings, key)
        if not value or setting is None:
            continue
        text = ",".join(setting) if isinstance(setting, list) else str(setting)
        if not set(_normal(variable, value).split(",")) <= set(text.split(",")):
            ignored[variable] = f"tracker.{key}={text}"
    return ignored


def _normal(variable: str, value: str) -> str:
    """The variable's value in the form that the settings use."""
    if variable == "WANDB_MODE":
        return _MODES.get(value.lower(), value)
    if variable == "WANDB_DISABLED":
        return "disabled" if value.lower() in _TRUE else ""
    return ",".join(part.strip() for part in value.split(","))


@contextmanager
def without_unused(environment: Any = os.environ) -> Iterator[None]:
    """Hide the ignored variables during the block: W&B's sweep variables would override arguments of `wandb.init`."""
    hidden = {name: environment.pop(name) for name in (*UNUSED, _SERVICE) if name in environment}
    try:
        yield
    finally:
        for name, value in hidden.items():
            environment.setdefault(name, value)  # W&B has set the address of a service that it started meanwhile
