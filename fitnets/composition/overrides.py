"""Overrides as they are typed: a key that holds text keeps the text, whatever it looks like.

Hydra parses the right side of `KEY=VALUE` by a grammar of its own. It makes numbers of `0.10` and `1e3`, and refuses
`=`, `(`, `~`, `ü` and other characters of ordinary paths. Therefore `as_typed` rewrites every override before Hydra
sees it: those of command lines and of `loading.load`, the `params` of a sweep and the parameters of a trial. Keys whose
type is text (or a list of texts, or the choice of an option in a group) follow these rules; other keys are left alone:

- A VALUE that Hydra reads as the same text stays as it is, also with Hydra's quotes (`'a b'`), its escapes (`a\\,b`)
  and interpolations (`${seed}`).
- A VALUE that Hydra would turn into something else (`0.10`, `1_000`, `true`, `[a]`) or cannot read (`a=b`, `a(b)`,
  `~/x`) is quoted.
- `null` means no value where the key may have none. Elsewhere it is text.
- `a,b`, `choice(a,b)`, `range(...)` and the like are sweeps. Each choice is text by these rules.
- A path may begin with `~`. A path that is empty or has a control character is a ConfigError.
- What may be a typing error, such as a quote that is not closed, is left to Hydra. The message then shows the quoted
  form.

All keys may have the name that earlier versions gave them (`fitnets.config.former_keys`).
"""

import random
import re
import shlex
from collections.abc import Sequence
from functools import cache
from itertools import compress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import GrammarParseError
from omegaconf.grammar_parser import parse as parse_interpolation

from fitnets.composition import hydra_internals
from fitnets.composition.text_keys import Text, text_of
from fitnets.config import former_keys
from fitnets.errors import ConfigError
from fitnets.paths import expanded

_OVERRIDE = re.compile(r"(\+{0,2})([^=]*)=(.*)", re.DOTALL)
_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_TEXT_FUNCTIONS = ("choice", "shuffle", "sort", "str", "extend_list")
_FUNCTIONS = (*_TEXT_FUNCTIONS, "range", "interval", "tag", "glob", "int", "float", "bool", "json_str")
_NAMED_ARGUMENT = re.compile(r"(list|sweep|reverse)\s*=")
_ESCAPED = re.compile(r"\\[()\[\]{}:=,\\ \t]")
"""the characters that Hydra unescapes in a value without quotes"""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROL_NAMES = {"\r": "a carriage return (of Windows line ends?)", "\n": "a line feed"}
_TAKES_A_WORD = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p")


# --- overrides of a command line, a sweep or a trial ---


def command_line(words: Sequence[str]) -> list[str]:
    """The words after `python run.py`, with each override `as_typed`. Raises ConfigError."""
    are_overrides = []
    for before, word in zip(["", *words], words, strict=False):
        if before in _TAKES_A_WORD and not word:
            raise ConfigError(f"{before} is empty: give a name after it")
        if word in ("--config-dir=", "-cd="):
            raise ConfigError(f"{word} is empty: give a folder after it")
        are_overrides.append(not word.startswith("-") and before not in _TAKES_A_WORD)
    typed = iter(all_typed(list(compress(words, are_overrides))))
    return [next(typed) if is_override else word for word, is_override in zip(words, are_overrides, strict=True)]


def all_typed(words: Sequence[str]) -> list[str]:
    """Each override `as_typed`. Raises ConfigError, also if a key has both its former and its present name in them."""
    former_keys.refuse_both(word.partition("=")[0].lstrip("+") for word in words)
    return [as_typed(word) for word in words]


def as_typed(word: str) -> str:
    """The override in a form whose value Hydra reads as it was typed, with the present name of its key. Raises
    ConfigError for an empty path."""
    matched = _OVERRIDE.fullmatch(word)
    if matched is None:
        return word
    prefix, typed_key, typed_value = matched.groups()
    key, value = former_keys.current_entry(typed_key, typed_value)
    if value.lstrip().startswith("{"):
        value = _current_table(key, value)
    text = text_of(key.split("@")[0])
    return f"{prefix}{key}={value if text is None else _as_text(value, key, text)}"


def _current_table(key: str, value: str) -> str:
    """A table of values, such as `{lr: 0.1, decay: 0.9}`, with the present names of its keys."""
    override = _parsed(value)
    table = None if override is None else hydra_internals.table_of(override)
    if override is None or table is None:
        return value
    current = former_keys.current_tree(table, key)
    return value if current == table else hydra_internals.text_of_table(override, current)


def of_value(key: str, value: Any) -> str:
    """The override for a value of `params` or of a trial."""
    return as_typed(f"{key}={'null' if value is None else value}")


# --- text as an override, or in a shell ---


def literal(key: str, text: str) -> str:
    """The override that gives a key exactly this text: nothing in it is interpolated."""
    return f"{key}={quoted(_escaped(text))}"


def quoted(text: str, quote: Quote = Quote.single) -> str:
    """The text in Hydra's quotes."""
    return QuotedString(text, quote).with_quotes()


def in_shell(word: str) -> str:
    """An override of text with Hydra's quotes added, quoted as a whole for the shell."""
    key, _, value = word.partition("=")
    return shlex.quote(f"{key}={quoted(_escaped(value), Quote.double)}")


def shown(key: str, text: str) -> str:
    """The shortest override, quoted for a shell, that gives a key this text."""
    is_plain = not set(text) & set(",'\"()[]{}$\\") and text == text.strip()
    return shlex.quote(f"{key}={text}") if is_plain else in_shell(f"{key}={text}")


# --- paths ---


def check_path(key: str, value: Any, text: Text) -> None:
    """Raise ConfigError for an empty path, and for null where a path is needed."""
    way_out = "give a path, or null" if text.is_optional else "give a path"
    if isinstance(value, str) and not value.strip():
        raise ConfigError(f"{key}= is empty: {way_out}")
    if value is None and not text.is_optional:
        raise ConfigError(f"{key}=null: {way_out} (./null for a folder of that name)")


def at_home(path: str) -> str:
    """The path with `~` replaced by the home folder; other paths stay as they are."""
    return str(expanded(path)) if path.startswith("~") else path


# --- values of text keys ---


def _as_text(value: str, key: str, text: Text) -> str:
    """The value in the form in which Hydra reads it as text."""
    if text.is_list:
        return _list(value, key, text)
    parsed = _parsed(value)
    if text.is_path:
        check_path(key, parsed.value() if parsed and not parsed.is_sweep_override() else value, text)
    if parsed is None:
        return _unreadable(value, key, text)
    if parsed.is_sweep_override():
        return _sweep(value, key, text)
    return _element(value, parsed.value(), key, text)


def _element(value: str, read: Any, key: str, text: Text) -> str:
    """A single value.

    value: as it was typed
    read: the Python value that Hydra makes of it"""
    if _function(value) == "str":
        return _sweep(value, key, text)
    if _function(value) or (text.is_group and (read is None or not value or isinstance(read, list | dict))):
        return value
    if read is None:
        return value if text.is_optional else quoted(value)
    is_quoted = value.startswith(("'", '"'))
    if isinstance(read, str) and text.is_path and read.startswith("~"):
        return quoted(at_home(read))
    if isinstance(read, str) and (is_quoted or read == value or _ESCAPED.search(value)):
        return value
    return quoted(value)


def _unreadable(value: str, key: str, text: Text) -> str:
    """A value that Hydra cannot parse, quoted. If it may be a typing error, it is left for Hydra to refuse."""
    if control := _CONTROL.search(value):
        name = _CONTROL_NAMES.get(control[0], "a control code")
        raise ConfigError(f"{key}={ascii(value)[1:-1]}: the value has {name} in it: remove it")
    parts, function = split(value), _function(value)
    if function == "tag" or function in _TEXT_FUNCTIONS:
        return _sweep(value, key, text)
    if value.startswith(("'", '"')) or function or _ESCAPED.search(value) or (parts is None and "," in value):
        return value
    if parts is not None and len(parts) > 1:
        return ",".join(_as_text(part.strip(), key, text) for part in parts)
    return quoted(at_home(_interpolated(value)) if text.is_path else _interpolated(value))


def _sweep(value: str, key: str, text: Text) -> str:
    """Several choices, each as it was typed.

    Hydra's functions drop quotes, so that `choice('0.10')` becomes a number in a job. If a choice has to be quoted, a
    plain list of choices therefore replaces the function."""
    name, parts = _function(value), split(value) or []
    if name is None:
        return ",".join(_as_text(part.strip(), key, text) for part in parts)
    arguments = [part.strip() for part in split(value.strip()[:-1].partition("(")[2]) or []]
    is_plain = not any(_NAMED_ARGUMENT.match(one) or one.startswith("[") for one in arguments)
    if name == "tag" and arguments:
        arguments = arguments[-1:]
    elif name not in _TEXT_FUNCTIONS or not is_plain:
        return value
    choices = [_as_text(one, key, text) for one in arguments]
    if choices == arguments:
        return value
    if name == "extend_list":
        return f"extend_list({','.join(choices)})"
    if name == "shuffle":
        random.shuffle(choices)
    return ",".join(sorted(choices) if name == "sort" else choices)


def _list(value: str, key: str, text: Text) -> str:
    """A list of texts, each as it was typed."""
    inner = value.strip()
    element = Text(is_path=text.is_path)
    if _function(value) == "extend_list":
        return _sweep(value, key, element)
    lists = split(inner) or []
    if len(lists) > 1:  # a sweep over lists
        return ",".join(_list(part, key, text) for part in lists)
    if not (inner.startswith("[") and inner.endswith("]")):
        return value
    parts = split(inner[1:-1])
    if parts is None:
        return value
    return f"[{','.join(_as_text(part.strip(), key, element) for part in parts if part.strip() or len(parts) > 1)}]"


def _interpolated(value: str) -> str:
    """The text with its interpolations; if OmegaConf cannot read them, with their dollar signs escaped."""
    if "${" not in value:
        return value
    try:
        parse_interpolation(value)
    except GrammarParseError:
        return _escaped(value)
    return value


def _escaped(text: str) -> str:
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


# --- Hydra's grammar ---


def _parsed(value: str) -> Override | None:
    """The value as Hydra parses it; None if Hydra cannot."""
    try:
        return _parser().parse_override(f"key={value}")
    except (HydraException, ValueError, TypeError, RecursionError):
        return None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _function(value: str) -> str | None:
    """The name of the function of Hydra that a value calls; None if it calls none."""
    matched = _CALL.fullmatch(value)
    return matched[1] if matched and matched[1] in _FUNCTIONS else None


_OPENING = {")": "(", "]": "[", "}": "{"}


def split(value: str) -> list[str] | None:
    """The parts between commas outside brackets and quotes; None if brackets or quotes are not balanced."""
    characters = _outside_quotes(value)
    if characters is None:
        return None
    commas: list[int] = []
    open_brackets: list[str] = []
    for index, character in characters:
        if character in _OPENING.values():
            open_brackets.append(character)
        elif character in _OPENING and (not open_brackets or open_brackets.pop() != _OPENING[character]):
            return None
        elif character == "," and not open_brackets:
            commas.append(index)
    if open_brackets:
        return None
    starts, ends = [0, *(index + 1 for index in commas)], [*commas, len(value)]
    return [value[start:end] for start, end in zip(starts, ends, strict=True)]


def _outside_quotes(value: str) -> list[tuple[int, str]] | None:
    """(index, character) of every character outside quotes that no backslash escapes; None if a quote is not closed.

    A quote opens at the beginning of a value or of a part of it. Elsewhere, as in `it's`, it is an ordinary
    character."""
    characters = []
    quote = ""
    for index, character in enumerate(value):
        is_escaped = value[index - 1 : index] == "\\"
        if quote and character == quote and not is_escaped:
            quote = ""
        elif quote or is_escaped:
            continue
        elif character in "'\"" and value[:index].rstrip()[-1:] in "([{,:=":
            quote = character
        else:
            characters.append((index, character))
    return None if quote else characters
