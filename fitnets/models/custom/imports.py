"""A user's modules by import path."""

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

from torch import nn

from fitnets.errors import ConfigError, near


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or "no message"


def last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


# --- modules by import path ---


def find(target: str, key: str) -> tuple[Callable[..., Any], types.ModuleType]:
    """What an import path names, `package.module.factory`, also in files of the present folder; and that module.

    It is imported, and will be called: a configuration with an import path is a program.

    Raises ConfigError, with the key of the configuration, where there is no such thing."""
    parts = target.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{key}={target}: no import path: give package.module.factory")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    for count in range(len(parts) - 1, 0, -1):
        module = _imported(".".join(parts[:count]), target, key)
        if module is None:
            continue
        found = _within(module, parts[count:], f"{key}={target}")
        if not callable(found):
            raise ConfigError(f"{key}={target}: that is a {type(found).__name__}: give a function or a class")
        return found, module
    raise ConfigError(
        f"{key}={target}: no module {parts[0]} in the present folder or among the installed packages: give "
        "package.module.factory"
    )


def _imported(name: str, target: str, key: str) -> types.ModuleType | None:
    """None: there is no such module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise ConfigError(f"{key}={target}: {name} imports {error.name}, which is not installed") from error
    except Exception as error:  # of the user's code
        raise ConfigError(
            f"{key}={target}: importing {name} failed ({type(error).__name__}: {first_line(error)})"
        ) from error


def _within(module: types.ModuleType, names: list[str], told: str) -> Any:
    """The attribute of an attribute of a module."""
    found: Any = module
    for name in names:
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigError(f"{told}: no {name} in {module.__name__}{near(name, dir(found))}") from error
        except Exception as error:  # of a package that imports its parts when they are asked for
            raise ConfigError(f"{told}: {name} cannot be had ({first_line(error)})") from error
    return found


@cache
def source_digest(target: str) -> str:
    """SHA-256 of the files that a factory is named and written in, as they were when this process first asked: what is
    imported does not change with them."""
    factory, module = find(target, "target")
    found = [getattr(module, "__file__", None)]
    with suppress(TypeError):  # a functools.partial, or built in
        found.append(inspect.getsourcefile(inspect.unwrap(factory)))
    digest = hashlib.sha256()
    for path in dict.fromkeys(filter(None, found)):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def call(factory: Callable[..., Any], arguments: Mapping[str, Any], key: str, target: str) -> nn.Module:
    """The module that a factory makes. Raises ConfigError where it makes none."""
    try:
        made = factory(**arguments)
    except Exception as error:  # of the user's code
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        way_out = f"give other {key}.args{_signature(factory)}"
        if "CUDA" in str(error):
            way_out = "make it on the CPU: it is moved to the device of engine.device"
        raise ConfigError(
            f"{key}.target={target}: {target.rpartition('.')[2]}({given}) failed ({type(error).__name__}: "
            f"{first_line(error)}): {way_out}"
        ) from error
    if not isinstance(made, nn.Module):
        raise ConfigError(
            f"{key}.target={target}: it makes a {type(made).__name__}: give something that makes a torch.nn.Module"
        )
    return made


def _signature(factory: Callable[..., Any]) -> str:
    try:
        return f" (it takes {inspect.signature(factory)})"
    except (TypeError, ValueError):
        return ""
