"""Hydra's side of the configuration: groups and overrides in, a checked `Config` out, and mistakes told in short.

The only module of the package that imports Hydra and OmegaConf.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fitnets import options, places, rules
from fitnets.config import Config, Folder, Thin
from fitnets.options import ConfigError, ToldError, near
from fitnets.stopping import Stopped

T = TypeVar("T")
MISTAKES = (HydraException, OmegaConfBaseException, YAMLError)
CONF = places.CONF

for _name, _class in options.OPTIONS.items():
    # Below hydra/ the schema's types do not show up among the user's groups in --help.
    ConfigStore.instance().store(group="hydra/fitnets", name=_name, node=_class)


def to_config(composed: DictConfig) -> Config:
    """The composed tree as checked dataclasses. ConfigError: all unknown and missing keys, or all broken rules."""
    _count_classes(composed)
    problems = [*_unknown_keys(composed)]
    problems += [_missing(key) for key in sorted(OmegaConf.missing_keys(composed))]
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        config = rules.check(cast(Config, OmegaConf.to_object(composed)))
    except OmegaConfBaseException as error:
        raise ConfigError(brief(error)) from error
    if isinstance(config.student, Thin) and config.student.width is None:
        from fitnets import costs  # imports torch

        config = costs.within_budget(config, config.student)
    if rules.has_custom(config):
        from fitnets import pairs  # imports torch

        config = pairs.resolved(config)
    return config


def _count_classes(composed: DictConfig) -> None:
    """A folder's classes are its sub-folders, unless their number is given."""
    dataset = composed.dataset
    is_open = OmegaConf.get_type(dataset) is Folder and OmegaConf.is_missing(dataset, "classes")
    if is_open and not OmegaConf.is_missing(dataset, "path"):
        from fitnets import folder  # imports torch

        dataset.classes = max(2, len(folder.sub_folders(dataset.path)))


def load(overrides: list[str], config_dir: str | None = None) -> Config:
    """The Config that `python run.py OVERRIDES` would use; writes nothing. config_dir: of the user's own options.
    ConfigError for every mistake."""
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        overrides = [f"hydra.searchpath=['file://{Path(config_dir).resolve()}']", *overrides]
    try:
        with initialize_config_dir(str(CONF)):
            composed = compose("config", overrides)
    except MISTAKES as error:
        raise ConfigError(brief(error)) from error
    return to_config(composed)


def adapted(option: T, key: str, overrides: list[str]) -> T:
    """An option with other values of some keys. key: of the option; overrides: `key.name=value` each."""
    names = [f.name for f in fields(cast(Any, option))]
    for override in overrides:
        name = override.removeprefix(f"{key}.").split("=")[0]
        if name.split(".")[0] not in names:
            raise ConfigError(f"{key}.{name}: no such key{near(name, names)} (keys of {key}: {', '.join(names)})")
    try:
        changes = OmegaConf.from_dotlist([override.removeprefix(f"{key}.") for override in overrides])
        return cast(T, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(option), changes)))
    except MISTAKES as error:
        raise ConfigError(brief(error)) from error


def _missing(key: str) -> str:
    group = key.replace(".", "/")
    return f"{key} has no value: give {group if (CONF / group).is_dir() else key}=..."


def _unknown_keys(node: Any, key: str = "") -> Iterator[str]:
    """`+student.nonsense=1` gets past Hydra: every key must be a field of its node's type."""
    if isinstance(node, ListConfig):
        for index, item in enumerate(node):
            yield from _unknown_keys(item, f"{key}[{index}]")
    if not isinstance(node, DictConfig):
        return
    kind = OmegaConf.get_type(node)
    names = [f.name for f in fields(kind)] if kind is not None and is_dataclass(kind) else None
    for name in map(str, node):
        dotted = f"{key}.{name}" if key else name
        if names is not None and name not in names:
            yield f"{dotted}: no such key{near(name, names)} (keys of {key or 'the config'}: {', '.join(names)})"
        elif not OmegaConf.is_missing(node, name):
            yield from _unknown_keys(node[name], dotted)


# --- errors ---

_NOISE = re.compile(
    r"^(Config search path:|\s*provider=|To append to your config|Set the environment variable|See https|"
    r"\s*(full_key:|reference_type=|object_type=)|Error when parsing index|\d\. To )"
)
_REPHRASED = (  # Hydra's words, ours
    (
        r"Ambiguous value for argument '([^']+)'",
        r"\1: several values: add -m to sweep over them, or quote a list, 'key=[a,b]'",
    ),
    (r"Error parsing override '([^']+)'\s+missing EQUAL", r"\1: no value: give \1=..."),
    (r"Config group override must be a string or a list", "a group has no value or null: give GROUP=OPTION"),
    (
        r"Interpolation key 'teacher\.hint' not found",
        "hint_layer.teacher: the paper names no hint layer for this teacher: give hint_layer.teacher=LAYER "
        "(`fitnets layers` lists them)",
    ),
    (r"hydra.mode changed during config composition", "+sweeps=... is a sweep: add -m"),
    (
        r"In 'schedule/(\w+)': Could not load 'schedule/\w+/(\w+)'",
        r"schedule=\1 has no numbers for dataset=\2: give schedule=modern, or a file schedule/\1/\2.yaml of yours",
    ),
    (
        r"Could not override '([^']+)'\.\s+To append to your config use (\S+)\s+Key '\S+' is not in struct",
        r"\1: not in the table yet: add it with \2",
    ),
    (
        r"In '([^']+)': ValidationError.*Ambiguous assignment to Union\[([^\]]+)\]",
        r"\1: the file must say which of \2 it is: defaults: [/hydra/fitnets/TYPE@_here_, _self_]",
    ),
)
_OPTIONS = re.compile(r"Could not find '(.+?)/([^/']+)'\n+Available options in '.+?':\n((?:\t\S+\n?)+)")


def brief(error: BaseException) -> str:
    """What went wrong in one to three lines."""
    if isinstance(error, ToldError):
        return str(error)
    told = [str(error)]
    if isinstance(error.__cause__, OmegaConfBaseException):
        told.append(str(error.__cause__))
    text = "\n".join(told)
    if missing := _OPTIONS.search(text):
        group, given, listed = cast(tuple[str, str, str], missing.groups())
        names = listed.split()
        return f"{group}={given}: no such option{near(given, names)} (options of {group}: {', '.join(names)})"
    for pattern, ours in _REPHRASED:
        if found := re.search(pattern, text, re.DOTALL):
            return found.expand(ours)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line)]
    first, *rest = lines
    if not rest:
        return first
    first = first.removeprefix("Error merging override ").rstrip(":.")
    return "\n".join([f"{first}: {rest[0]}", *([" ".join(rest[1:])] if rest[1:] else [])])


class _Mistake(BaseException):
    """Carries the mistake of a single run past Hydra, which would add lines of its own."""


@contextmanager
def job() -> Iterator[None]:
    """Around a Hydra job. Relative paths are taken from the folder where the command was started, even with
    hydra.job.chdir=true. In a sweep a failed job is told at once (Hydra shows the first alone, at the end); a study
    tells its own."""
    hydra = HydraConfig.get()
    started_in = Path(hydra.runtime.cwd)
    try:
        with chdir(started_in) if started_in.is_dir() else nullcontext():  # on another machine there may be none
            yield
    except ToldError as error:
        if hydra.mode != RunMode.MULTIRUN:
            raise _Mistake from error
        if not str(hydra.sweeper.get("_target_")).startswith("sweeps.study."):
            print(f"job {hydra.job.num} failed: {error}", file=sys.stderr)
        raise


GOES_ON = "the same command goes on from the last checkpoint (with rerun=true it begins anew)"


def command_line(main: Callable[[], Any], stopped: str = GOES_ON) -> int:
    """Run an entry point and give its exit code: mistakes of the user are told in short, on standard error.

    stopped: what to add after SIGINT or SIGTERM.

    HYDRA_FULL_ERROR=1 in the environment brings the tracebacks back.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors on instead of printing them at length
    try:
        main()
    except KeyboardInterrupt as error:
        print(": ".join(filter(None, (str(error) or "stopped", stopped))), file=sys.stderr)
        return error.exit_code if isinstance(error, Stopped) else 130
    except (ToldError, *MISTAKES) as error:
        print(brief(error), file=sys.stderr)
        return 1
    except ValueError as error:
        if not _raised_by_hydra(error):
            raise
        print(brief(error), file=sys.stderr)
        return 1
    except _Mistake as mistake:
        print(mistake.__cause__, file=sys.stderr)
        return 1
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
    return 0


def _raised_by_hydra(error: BaseException) -> bool:
    """Hydra refuses some command lines (`student=null`, `-m --cfg job`) with a bare ValueError."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return str(frames[-1]).startswith("hydra.")
