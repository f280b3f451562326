"""Hydra's side of the configuration: groups and overrides in, a checked `Config` out, and mistakes told in short.

With `overrides` and `own_options` the only modules of the package that import Hydra and OmegaConf.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

from fitnets import layout, options, own_options, permissions, places, rules, stored
from fitnets import overrides as typed
from fitnets.config import Config, Ensemble, Folder, RunTeacher, Thin
from fitnets.options import ConfigError, ToldError, near
from fitnets.stopping import Stopped

T = TypeVar("T")
MISTAKES = (HydraException, OmegaConfBaseException, YAMLError)
CONF = places.CONF

OmegaConf.register_resolver("run_command", lambda: places.COMMAND, replace=True)  # for --help
for _name, _class in options.OPTIONS.items():
    # Below hydra/ the schema's types do not show up among the user's groups in --help.
    ConfigStore.instance().store(group="hydra/fitnets", name=_name, node=_class)
own_options.install()


def to_config(composed: DictConfig) -> Config:
    """The composed tree as checked dataclasses. ConfigError: all unknown and missing keys, or all broken rules."""
    try:
        config = _checked(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(brief(error)) from error
    if isinstance(config.student, Thin) and config.student.width is None:
        from fitnets import costs  # imports torch

        config = costs.within_budget(config, config.student)
    if rules.has_custom(config):
        from fitnets import pairs  # imports torch

        config = pairs.resolved(config)
    return config


def _checked(composed: DictConfig) -> Config:
    _count_classes(composed)
    _locate_teachers(composed)
    problems = [*_unknown_keys(composed)]
    problems += [_missing(key) for key in sorted(OmegaConf.missing_keys(composed))]
    if problems:
        raise ConfigError(options.listed(problems))
    return rules.check(cast(Config, OmegaConf.to_object(composed)))


def _count_classes(composed: DictConfig) -> None:
    """A folder has as many classes as class folders, unless their number is given."""
    dataset = composed.dataset
    is_open = OmegaConf.get_type(dataset) is Folder and OmegaConf.is_missing(dataset, "classes")
    if is_open and not OmegaConf.is_missing(dataset, "path"):
        store = None if OmegaConf.is_missing(composed, "store") else composed.store
        dataset.classes = max(2, len(layout.structure(dataset.path, store).classes))


def _locate_teachers(composed: DictConfig) -> None:
    """Replace hashes of earlier runs, and beginnings of hashes, by their folders in the store."""
    teacher = composed.teacher

    def located(key: str, given: str) -> str:
        return stored.locate(given, places.expanded(str(composed.store)), f"teacher.{key}")

    kind = OmegaConf.get_type(teacher) if isinstance(teacher, DictConfig) else None
    for key in {RunTeacher: ["path"], Ensemble: ["hint_member", "members"]}.get(cast(Any, kind), []):
        if OmegaConf.is_missing(teacher, key):
            continue
        given = teacher[key]
        teacher[key] = located(key, given) if isinstance(given, str) else [located(key, str(one)) for one in given]


def load(overrides: list[str], config_dir: str | None = None) -> Config:
    """The Config that `python run.py OVERRIDES` would use; writes nothing. config_dir: of the user's own options.
    ConfigError for every mistake."""
    if config_dir is not None:
        if not config_dir or not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        folder = f"file://{Path(config_dir).resolve()}"
        overrides = [f"hydra.searchpath=[{typed.quoted(folder)}]", *overrides]
    try:
        with initialize_config_dir(str(CONF)):
            composed = compose("config", [typed.as_typed(word) for word in overrides])
    except MISTAKES as error:
        raise ConfigError(brief(error)) from error
    return to_config(composed)


def adapted(option: T, key: str, overrides: list[str]) -> T:
    """An option with other values of some keys. key: of the option; overrides: `key.name=value` each."""
    names = [f.name for f in fields(cast(Any, option))]
    changed = OmegaConf.structured(option)
    try:
        for override in OverridesParser.create().parse_overrides([typed.as_typed(word) for word in overrides]):
            name = override.key_or_group.removeprefix(f"{key}.")
            if name.split(".")[0] not in names:
                raise ConfigError(f"{key}.{name}: no such key{near(name, names)} (keys of {key}: {', '.join(names)})")
            OmegaConf.update(changed, name, override.value())
        return cast(T, OmegaConf.to_object(changed))
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
            close = near(name, names) or "".join(f"; {other}=..." for other in typed.keys_ending(dotted))
            yield f"{dotted}: no such key{close} (keys of {key or 'the config'}: {', '.join(names)})"
        elif not OmegaConf.is_missing(node, name):
            yield from _unknown_keys(node[name], dotted)


# --- errors ---

_NOISE = re.compile(
    r"^(Config search path:|\s*provider=|To append to your config|Set the environment variable|See https|"
    r"\s*(full_key:|reference_type=|object_type=)|Error when parsing index|\d\. To )"
)
_REPHRASED = (  # Hydra's words, ours
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
        r"\1: the file must say which of \2 it is: defaults: [/hydra/fitnets/TYPE@_here_, _self_]; or which option it "
        r"changes: defaults: [OPTION, _self_]",
    ),
)
_OPTIONS = re.compile(r"Could not find '(.+?)/([^/']*)'\n+Available options in '.+?':\n((?:\t\S+\n?)+)")


def brief(error: BaseException) -> str:
    """What went wrong in one to three lines."""
    if isinstance(error, ToldError):
        return str(error)
    told = [str(error)]
    if isinstance(error.__cause__, OmegaConfBaseException):
        told.append(str(error.__cause__))
    text = "\n".join(told)
    if own := _of_grammar(error, text):
        return own
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


def _of_grammar(error: BaseException, text: str) -> str | None:
    """What to type instead of an override that cannot be read, is several values, names no key, or has an interpolation
    without value. None: the error is another one."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, OverrideParseException) and "missing EQUAL" not in text:
        return _unreadable(str(error.override))
    if found := re.search(r"Ambiguous value for argument '(.*)'\n", text):
        word = found[1]
        is_text = (kind := typed.text_of(word.partition("=")[0])) is not None and not kind.is_list
        quoted = f"text, {typed.in_shell(word)}" if is_text else "a list, 'key=[a,b]'"
        return f"{word}: several values: add -m to sweep over them, or quote {quoted}"
    if found := re.search(r"Could not override '(\w[\w.]*)'.*Key '\w+' (?:is )?not in", text, re.DOTALL):
        others = typed.keys_ending(found[1])
        if others and found[1] not in others:
            return f"{found[1]}: no such key: give {' or '.join(f'{key}=...' for key in others)}"
    if isinstance(cause, InterpolationResolutionError | GrammarParseError) and cause.full_key:
        return _unresolved(cause)
    return None


def _unreadable(word: str) -> str:
    """An override that Hydra cannot parse, with the form of it that it can."""
    key, equals, value = word.partition("=")
    shown = ascii(word)[1:-1] if not word.isprintable() else word
    if not (equals and re.fullmatch(r"[~+]{0,2}[\w./@$:\[\]-]+", key, re.ASCII)):
        return f"{shown}: no KEY=VALUE: a key has letters, digits, _ and dots alone"
    name = key.lstrip("~+")
    is_other = typed.text_of(name) is None and name in typed.keys_ending(name)
    way_out = "" if is_other or shown != word else f": quote it, {typed.in_shell(word)}"
    return f"{shown}: the value cannot be read{way_out}"


def _unresolved(error: OmegaConfBaseException) -> str:
    reason = str(error).splitlines()[0]
    if "HydraConfig was not set" in reason:
        reason = "${hydra:...} has a value in python run.py alone: give the value itself"
    elif named := re.search(r"Environment variable '(.+)' not found", reason):
        reason = f"${{oc.env:{named[1]}}}: the environment has no {named[1]}"
    return f"{error.full_key}: {reason}; text with a dollar sign and a brace is written \\${{"


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
        here = chdir(started_in) if started_in.is_dir() else nullcontext()  # on another machine there may be none
        with here, permissions.in_words():
            yield
    except ToldError as error:
        if hydra.mode != RunMode.MULTIRUN:
            raise _Mistake from error
        if not str(hydra.sweeper.get("_target_")).startswith("sweeps.study."):
            print(f"job {hydra.job.num} failed: {error}", file=sys.stderr)
        raise


def as_typed(main: Callable[[], Any]) -> Callable[[], Any]:
    """Around Hydra's entry point: the overrides of the command line as `overrides.as_typed` has them."""

    @wraps(main)
    def call() -> Any:
        sys.argv = [*sys.argv[:1], *typed.command_line(sys.argv[1:])]
        return main()

    return call


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
    except (ToldError, *MISTAKES, OSError, ValueError) as error:
        told = _in_short(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        return 1
    except _Mistake as mistake:
        print(mistake.__cause__, file=sys.stderr)
        return 1
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
    return 0


def _in_short(error: BaseException) -> str | None:
    """What the user has to change: a mistake, a missing permission, a full disk, a file that is in the way. None: it is
    a fault of the program."""
    if isinstance(error, ToldError | HydraException | OmegaConfBaseException | YAMLError):
        return brief(error)
    if isinstance(error, OSError):
        is_full = error.errno in permissions.FULL
        return permissions.full_disk(error, Path(".")) if is_full else permissions.explained(error)
    return brief(error) if _raised_by_hydra(error) else None


def _raised_by_hydra(error: BaseException) -> bool:
    """Hydra refuses some command lines (`student=null`, `-m --cfg job`) with a bare ValueError."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return str(frames[-1]).startswith("hydra.")
