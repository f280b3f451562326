"""Overrides as they are typed: a key that holds text keeps the text, whatever it looks like.

Hydra parses the right side of `KEY=VALUE` by a grammar of its own. It makes numbers of `0.10` and `1e3`, and refuses
`=`, `(`, `~`, `ü` and other characters of ordinary paths. Every command line, every `params` of a sweep, every trial
of a study and every `compose.load` passes `as_typed` before Hydra sees it. The rule, for keys whose type is text (or a
list of texts, or the choice of an option in a group) and for no others:

- A VALUE that Hydra reads as the same text stays as it is, also with Hydra's quotes (`'a b'`), its escapes (`a\\,b`)
  and interpolations (`${seed}`).
- A VALUE that Hydra would turn into something else (`0.10`, `1_000`, `true`, `[a]`) or cannot read (`a=b`, `a(b)`,
  `~/x`) is quoted.
- `null` is no value where the key may have none, and text elsewhere.
- `a,b`, `choice(a,b)`, `range(...)` and the like are sweeps. Each choice is text by this rule.
- A path may begin with `~`. A path that is empty or has a control character is a ConfigError.
- What may be a slip of the pen (a quote that is not closed) is left to Hydra, and refused with the quoted form.
"""

import random
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import compress
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import GrammarParseError
from omegaconf.grammar_parser import parse as parse_interpolation

from fitnets.config import Config, former_keys
from fitnets.errors import ConfigError
from fitnets.paths import expanded

SCHEMAS: dict[str, type[Any]] = {"": Config, "hydra": HydraConf}
"""dataclass of the keys below a prefix"""
HYDRA_PATHS = {"hydra.run.dir", "hydra.sweep.dir", "hydra.sweeper.directory", "hydra.sweeper.storage"}
PARAMS = "hydra.sweeper.params"

_WORD = re.compile(r"(\+{0,2})([^=]*)=(.*)", re.DOTALL)
_FUNCTION = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_SWEEPS_OF_TEXT = ("choice", "shuffle", "sort", "str", "extend_list")
_NAMED = re.compile(r"(list|sweep|reverse)\s*=")
"""arguments of these by name"""
_FUNCTIONS = (*_SWEEPS_OF_TEXT, "range", "interval", "tag", "glob", "int", "float", "bool", "json_str")
_ESCAPED = re.compile(r"\\[()\[\]{}:=,\\ \t]")
"""what Hydra unescapes in a value without quotes"""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TAKES_A_WORD = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p")


# --- which keys hold text ---


def register(prefix: str, schema: type[Any]) -> None:
    """Have the keys below a prefix looked up in a dataclass."""
    SCHEMAS[prefix] = schema
    text_of.cache_clear()


@dataclass(frozen=True, slots=True)
class Text:
    """A key that holds text. is_list: of texts; is_group: the choice of an option; is_path: of a file or folder."""

    is_optional: bool = False
    is_list: bool = False
    is_group: bool = False
    is_path: bool = False


@cache
def text_of(key: str) -> Text | None:
    """What a dotted key holds by the schema, whichever options are chosen. None: no text, or no such key."""
    if "/" in key or (key in _top() and _is_group(key)):
        return Text(is_group=True)
    key = re.sub(r"\[(\w+)\]", r".\1", key)
    prefix = max((name for name in SCHEMAS if f"{key}.".startswith(f"{name}." if name else "")), key=len)
    found: list[tuple[Any, bool]] = [(SCHEMAS[prefix], False)]
    for part in key.removeprefix(f"{prefix}.").split("."):
        found = [below for kind, is_path in found for below in _below(kind, part, is_path)]
    members = [member for kind, _ in found for member in _members(kind)]
    kinds = [member for member in members if member is not NoneType]
    are_lists = bool(kinds) and all(get_origin(kind) is list for kind in kinds)
    if are_lists:
        kinds = [element for kind in kinds for element in get_args(kind)]
    if not kinds or not all(kind is str or _is_literal_text(kind) for kind in kinds):
        return None
    is_path = all(is_path for _, is_path in found) or key in HYDRA_PATHS
    is_hydras = prefix != ""  # which says itself where there must be a value
    return Text(is_optional=is_hydras or NoneType in members, is_list=are_lists, is_path=is_path)


def _top() -> list[str]:
    return [field.name for field in fields(Config)]


def is_value(key: str) -> bool:
    """Whether a key of the configuration is a value by itself, and no group of options."""
    return key in _top() and not _is_group(key)


def _is_group(key: str) -> bool:
    return all(is_dataclass(member) for member in _members(get_type_hints(Config)[key]))


def _is_literal_text(kind: Any) -> bool:
    return get_origin(kind) is Literal and all(isinstance(value, str) for value in get_args(kind))


def _members(kind: Any) -> list[Any]:
    """Of a union; a type by itself."""
    if get_origin(kind) in (Union, UnionType):
        return [member for part in get_args(kind) for member in _members(part)]
    return [kind]


def _below(kind: Any, part: str, is_path: bool) -> Iterator[tuple[Any, bool]]:
    """(type, whether it is a location) of what the part of a key names in a type."""
    for member in _members(kind):
        if is_dataclass(member) and isinstance(member, type):
            for field in fields(member):
                if field.name == part:
                    yield _hints(member)[part], is_location(field)
        elif get_origin(member) is list and part.isdigit():
            yield get_args(member)[0], is_path
        elif get_origin(member) is dict:
            yield get_args(member)[1], False


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def is_location(field: Field[Any]) -> bool:
    return "location" in field.metadata


def keys_ending(name: str) -> list[str]:
    """All dotted keys of the configuration, with any options, that end in a name: `lr` in
    `schedule.hint.optimizer.lr`."""
    return [key for key in all_keys() if f".{key}".endswith(f".{name}")]


def all_keys() -> list[str]:
    """All dotted keys of the configuration, with any options."""
    return list(dict.fromkeys(_keys(Config, "")))


def _keys(kind: Any, key: str) -> Iterator[str]:
    if key:
        yield key
    for member in _members(kind):
        if is_dataclass(member) and isinstance(member, type):
            for field in fields(member):
                yield from _keys(_hints(member)[field.name], f"{key}.{field.name}" if key else field.name)


# --- command lines ---


def command_line(words: Sequence[str]) -> list[str]:
    """The words after `python run.py`, each override `as_typed`. Raises ConfigError."""
    is_override = []
    for before, word in zip(["", *words], words, strict=False):
        if before in _TAKES_A_WORD and not word:
            raise ConfigError(f"{before} is empty: give a name after it")
        if word in ("--config-dir=", "-cd="):
            raise ConfigError(f"{word} is empty: give a folder after it")
        is_override.append(not word.startswith("-") and before not in _TAKES_A_WORD)
    typed = iter(all_typed(list(compress(words, is_override))))
    return [next(typed) if is_one else word for word, is_one in zip(words, is_override, strict=True)]


def all_typed(words: Sequence[str]) -> list[str]:
    """Each override `as_typed`. Raises ConfigError, also if a key is there under a former and its present name."""
    former_keys.refuse_both(word.partition("=")[0].lstrip("+") for word in words)
    return [as_typed(word) for word in words]


def as_typed(word: str) -> str:
    """An override with the present name of its key. The value of a text key stays as it was typed, other values as they
    are. Raises ConfigError for an empty path."""
    matched = _WORD.fullmatch(word)
    if matched is None:
        return word
    prefix, typed_key, typed_value = matched.groups()
    key, value = former_keys.current_entry(typed_key, typed_value)
    if value.lstrip().startswith("{"):
        value = _current_table(key, value)
    text = text_of(key.split("@")[0])
    return f"{prefix}{key}={value if text is None else _typed(value, key, text)}"


def _current_table(key: str, value: str) -> str:
    """A table of values, as `{lr: 0.1, decay: 0.9}`, with the present names of its keys."""
    parsed = _parsed(value)
    table = None if parsed is None else parsed._value
    if not isinstance(table, dict):
        return value
    current = former_keys.current_tree(table, key)
    return value if current == table else replace(parsed, _value=current).get_value_element_as_str()


def of_value(key: str, value: Any) -> str:
    """The override for a value of `params` or of a trial."""
    return as_typed(f"{key}={'null' if value is None else value}")


def literal(key: str, text: str) -> str:
    """The override that gives a key this very text, interpolations and all."""
    return f"{key}={quoted(_escaped(text))}"


def quoted(text: str, quote: Quote = Quote.single) -> str:
    """The text in Hydra's quotes."""
    return QuotedString(text, quote).with_quotes()


def in_shell(word: str) -> str:
    """An override of text that lacks Hydra's quotes with them, all of it quoted for the shell."""
    key, _, value = word.partition("=")
    return shlex.quote(f"{key}={quoted(_escaped(value), Quote.double)}")


def shown(key: str, text: str) -> str:
    """The shortest override for a shell that gives a key this text."""
    is_plain = not set(text) & set(",'\"()[]{}$\\") and text == text.strip()
    return shlex.quote(f"{key}={text}") if is_plain else in_shell(f"{key}={text}")


def _typed(value: str, key: str, text: Text) -> str:
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
    """value: as typed; read: what Hydra makes of it."""
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
    """What Hydra cannot parse, as text. Left as it is, for Hydra to refuse, where it may be a slip of the pen."""
    if control := _CONTROL.search(value):
        name = {"\r": "a carriage return (of Windows line ends?)", "\n": "a line feed"}.get(
            control[0], "a control code"
        )
        raise ConfigError(f"{key}={ascii(value)[1:-1]}: the value has {name} in it: remove it")
    parts, function = split(value), _function(value)
    if function == "tag" or function in _SWEEPS_OF_TEXT:
        return _sweep(value, key, text)
    if value.startswith(("'", '"')) or function or _ESCAPED.search(value) or (parts is None and "," in value):
        return value
    if parts is not None and len(parts) > 1:
        return ",".join(_typed(part.strip(), key, text) for part in parts)
    return quoted(at_home(_interpolated(value)) if text.is_path else _interpolated(value))


def _sweep(value: str, key: str, text: Text) -> str:
    """Choices, each as it is typed. Hydra's functions drop quotes, so that `choice('0.10')` is a number in a job:
    where a choice has to be quoted, the plain list of choices takes the function's place."""
    name, parts = _function(value), split(value) or []
    if name is None:
        return ",".join(_typed(part.strip(), key, text) for part in parts)
    parts = [part.strip() for part in split(value.strip()[:-1].partition("(")[2]) or []]
    is_plain = not any(_NAMED.match(part) or part.startswith("[") for part in parts)
    if name == "tag" and parts:
        parts = parts[-1:]
    elif name not in _SWEEPS_OF_TEXT or not is_plain:
        return value
    ours = [_typed(part, key, text) for part in parts]
    if ours == parts:
        return value
    if name == "extend_list":
        return f"extend_list({','.join(ours)})"
    if name == "shuffle":
        random.shuffle(ours)
    return ",".join(sorted(ours) if name == "sort" else ours)


def _list(value: str, key: str, text: Text) -> str:
    """A list of texts, each as it is typed."""
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
    return f"[{','.join(_typed(part.strip(), key, element) for part in parts if part.strip() or len(parts) > 1)}]"


def check_path(key: str, value: Any, text: Text) -> None:
    """Raises ConfigError for an empty path, and for null where there must be one."""
    way_out = "give a path, or null" if text.is_optional else "give a path"
    if isinstance(value, str) and not value.strip():
        raise ConfigError(f"{key}= is empty: {way_out}")
    if value is None and not text.is_optional:
        raise ConfigError(f"{key}=null: {way_out} (./null for a folder of that name)")


def _function(value: str) -> str | None:
    """The name of Hydra's function that a value calls."""
    matched = _FUNCTION.fullmatch(value)
    return matched[1] if matched and matched[1] in _FUNCTIONS else None


def at_home(path: str) -> str:
    """The path with `~` for a home, every other one as it is spelled."""
    return str(expanded(path)) if path.startswith("~") else path


def _interpolated(value: str) -> str:
    """The text with its interpolations, or as it stands if it has none that OmegaConf can read."""
    if "${" not in value:
        return value
    try:
        parse_interpolation(value)
    except GrammarParseError:
        return _escaped(value)
    return value


def _escaped(text: str) -> str:
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def _parsed(value: str) -> Override | None:
    try:
        return _parser().parse_override(f"key={value}")
    except (HydraException, ValueError, TypeError, RecursionError):
        return None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def split(value: str) -> list[str] | None:
    """The parts between commas outside brackets and quotes. None: these are not balanced."""
    parts: list[str] = []
    open_brackets: list[str] = []
    start, quote = 0, ""
    for index, character in enumerate(value):
        if quote:
            quote = "" if character == quote and value[index - 1] != "\\" else quote
        elif value[index - 1 : index] == "\\":
            continue
        elif character in "'\"" and value[:index].rstrip()[-1:] in "([{,:=":
            quote = character
        elif character in "([{":
            open_brackets.append(character)
        elif character in ")]}":
            if not open_brackets or open_brackets.pop() != "([{"[")]}".index(character)]:
                return None
        elif character == "," and not open_brackets:
            parts.append(value[start:index])
            start = index + 1
    return None if open_brackets or quote else [*parts, value[start:]]
