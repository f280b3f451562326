"""Imports a function or class of the user by its import path, calls it, and hashes its source."""

import hashlib
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from fitnets.errors import ConfigError, suggest


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or "no message"


def last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


# --- modules by import path ---


def import_factory(target: str, key: str) -> tuple[Callable[..., Any], types.ModuleType]:
    """Import the factory at an import path; return it and its Python module.

    The module is imported and the factory will be called: a configuration with an import path executes code.

    target: `package.module.factory`, in an installed package or in the current folder.
    key: key of the configuration, for messages.

    Raises ConfigError if there is no such function or class, or importing it fails."""
    parts = target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{key}={target}: not an import path: give package.module.factory")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    for count in range(len(parts) - 1, 0, -1):
        module = _imported(".".join(parts[:count]), target, key)
        if module is None:
            continue
        factory = _attribute(module, parts[count:], f"{key}={target}")
        if not callable(factory):
            raise ConfigError(f"{key}={target}: that is a {type(factory).__name__}: give a function or a class")
        return factory, module
    raise ConfigError(
        f"{key}={target}: no module {parts[0]} in the current folder or among the installed packages: give "
        "package.module.factory"
    )


def _imported(name: str, target: str, key: str) -> types.ModuleType | None:
    """Import a module; return None if there is no such module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise ConfigError(f"{key}={target}: {name} imports {error.name}, which is not installed") from error
    except Exception as error:  # from the user's code
        raise ConfigError(
            f"{key}={target}: importing {name} failed ({type(error).__name__}: {first_line(error)})"
        ) from error


def _attribute(module: types.ModuleType, names: list[str], override: str) -> Any:
    """Follow a path of attribute names from a module. override: as the user typed it, for messages."""
    value: Any = module
    for name in names:
        try:
            value = getattr(value, name)
        except AttributeError as error:
            raise ConfigError(f"{override}: no {name} in {module.__name__}{suggest(name, dir(value))}") from error
        except Exception as error:  # from a package that imports its parts on first use
            raise ConfigError(f"{override}: {name} cannot be imported ({first_line(error)})") from error
    return value


@cache
def source_digest(target: str) -> str:
    """Return the SHA-256 of a factory's source: the file that the import path names, and the file that defines it.

    The result is kept for the whole process, since imported code does not change with its files."""
    factory, module = import_factory(target, "target")
    paths = [getattr(module, "__file__", None)]
    with suppress(TypeError):  # a functools.partial or a built-in has no source file
        paths.append(inspect.getsourcefile(inspect.unwrap(factory)))
    digest = hashlib.sha256()
    for path in dict.fromkeys(filter(None, paths)):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def call(factory: Callable[..., Any], arguments: Mapping[str, Any], place: str, key: str) -> Any:
    """Call the user's function or class and return what it returns.

    place: its key and import path, for messages.
    key: the key that holds its arguments.

    Raises ConfigError if the call fails."""
    try:
        return factory(**arguments)
    except Exception as error:  # from the user's code
        listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        way_out = f"give other {key}{signature(factory)}"
        if "CUDA" in str(error):
            way_out = "build it on the CPU: it is moved to engine.device afterwards"
        raise ConfigError(
            f"{place}: {place.rpartition('.')[2]}({listed}) failed ({type(error).__name__}: {first_line(error)}): "
            f"{way_out}"
        ) from error


def signature(factory: Callable[..., Any]) -> str:
    """The arguments that a function takes, in words; empty if they are not known."""
    try:
        return f" (it takes {inspect.signature(factory)})"
    except (TypeError, ValueError):
        return ""
