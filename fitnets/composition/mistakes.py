"""Short messages for the errors of Hydra, OmegaConf and YAML."""

import re
from dataclasses import fields
from functools import cache
from typing import cast

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import GrammarParseError, InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

from fitnets.composition import overrides, text_keys
from fitnets.config import options
from fitnets.config.options import stored_name
from fitnets.errors import UserError, suggest
from fitnets.terms import registry

MISTAKES = (HydraException, OmegaConfBaseException, YAMLError)


_NOISE = re.compile(
    r"^(Config search path:|\s*provider=|To append to your config|Set the environment variable|See https|"
    r"\s*(full_key:|reference_type=|object_type=)|Error when parsing index|\d\. To )"
)
_REPHRASED = (  # (a pattern of Hydra's message, our message)
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
        r"schedule=\1 has no hyperparameters for dataset=\2: give schedule=modern, or a file schedule/\1/\2.yaml",
    ),
    (
        r"Could not override '([^']+)'\.\s+To append to your config use (\S+)\s+Key '\S+' is not in struct",
        r"\1: not in the table yet: add it with \2",
    ),
    (
        r"'method\.distill'|Key 'distill' not in 'Method'",
        "method.distill: the softened term of Eq. 2 is a loss term now: give '+method.stages.student.terms.kd={}'",
    ),
    (
        r"Could not override '([^']+)'.*Key '(\w+)' is not in struct",
        r"\1 has no entry \2 yet: add it with a + before the key, '+\1=...'",
    ),
    (
        r"In '([^']+)': ValidationError.*Ambiguous assignment to Union\[([^\]]+)\]",
        r"\1: the file must say which of \2 it is: defaults: [/hydra/fitnets/TYPE@_here_, _self_]; or which option it "
        r"changes: defaults: [OPTION, _self_]",
    ),
)
_OPTIONS = re.compile(r"Could not find '(.+?)/([^/']*)'\n+Available options in '.+?':\n((?:\t\S+\n?)+)")


@cache
def _former_names() -> list[tuple[str, str]]:
    """(a pattern of Hydra's message, our message) for each former key. Such a key reaches Hydra from a file whose path
    is unknown here."""
    classes = [(name, field) for name, kind in options.OPTIONS.items() for field in fields(kind)]
    renamed = [(name, stored_name(field), field.name) for name, field in classes if stored_name(field) != field.name]
    return [
        (rf"Key '{former}' not in '{name}'", f"{former} is called {present} now (a key of {name})")
        for name, former, present in renamed
    ]


def short_message(error: BaseException) -> str:
    """Describe an error in one to three lines."""
    if isinstance(error, UserError):
        return str(error)
    messages = [str(error)]
    if isinstance(error.__cause__, OmegaConfBaseException):
        messages.append(str(error.__cause__))
    text = "\n".join(messages)
    if about_override := _of_override(error, text):
        return about_override
    if missing := _OPTIONS.search(text):
        group, name, listed = cast(tuple[str, str, str], missing.groups())
        names = listed.split()
        return f"{group}={name}: no such option{suggest(name, names)} (options of {group}: {', '.join(names)})"
    for pattern, message in (*_REPHRASED, *_former_names()):
        if matched := re.search(pattern, text, re.DOTALL):
            return matched.expand(message)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line)]
    first, *rest = lines
    if not rest:
        return first
    first = first.removeprefix("Error merging override ").rstrip(":.")
    return "\n".join([f"{first}: {rest[0]}", *([" ".join(rest[1:])] if rest[1:] else [])])


def _of_override(error: BaseException, text: str) -> str | None:
    """The message for an override that cannot be read, has several values, names no key, or has an interpolation
    without a value; None for other errors."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, OverrideParseException) and "missing EQUAL" not in text:
        return _unreadable(str(error.override))
    if matched := re.search(r"Ambiguous value for argument '(.*)'\n", text):
        word = matched[1]
        kind = text_keys.text_of(word.partition("=")[0])
        is_text = kind is not None and not kind.is_list
        quoted = f"text, {overrides.in_shell(word)}" if is_text else "a list, 'key=[a,b]'"
        return f"{word}: several values: add -m to sweep over them, or quote {quoted}"
    if matched := re.search(r"Could not override 'method\.stages\.\w+\.terms\.(\w+)\.(\w+)'", text):
        loss, key = matched.groups()
        keys = [field.name for field in fields(registry.loss_class(loss))] if loss in registry.names() else []
        if keys and key not in keys:
            where = matched[0].split("'")[1]
            return f"{where}: no such key{suggest(key, keys)} (keys of this loss: {', '.join(keys)})"
    if matched := re.search(r"Could not override '(\w[\w.]*)'.*Key '\w+' (?:is )?not in", text, re.DOTALL):
        name = matched[1]
        keys = text_keys.keys_ending(name)
        if keys and name not in keys:
            return f"{name}: no such key: give {' or '.join(f'{key}=...' for key in keys)}"
    if isinstance(cause, InterpolationResolutionError | GrammarParseError) and cause.full_key:
        return _unresolved(cause)
    return None


def _unreadable(word: str) -> str:
    """The message for an override that Hydra cannot parse, with a quoted form that Hydra parses."""
    key, equals, value = word.partition("=")
    shown = ascii(word)[1:-1] if not word.isprintable() else word
    if not (equals and re.fullmatch(r"[~+]{0,2}[\w./@$:\[\]-]+", key, re.ASCII)):
        return f"{shown}: no KEY=VALUE: a key has letters, digits, _ and dots alone"
    name = key.lstrip("~+")
    holds_no_text = text_keys.text_of(name) is None and name in text_keys.keys_ending(name)
    way_out = "" if holds_no_text or shown != word else f": quote it, {overrides.in_shell(word)}"
    return f"{shown}: the value cannot be read{way_out}"


def _unresolved(error: OmegaConfBaseException) -> str:
    reason = str(error).splitlines()[0]
    if "HydraConfig was not set" in reason:
        reason = "${hydra:...} has a value in python run.py alone: give the value itself"
    elif named := re.search(r"Environment variable '(.+)' not found", reason):
        reason = f"${{oc.env:{named[1]}}}: the environment has no {named[1]}"
    return f"{error.full_key}: {reason}; write text with a dollar sign and a brace as \\${{"
