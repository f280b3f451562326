"""What comes from outside: a user's modules by import path, and weights from files of other programs."""

import hashlib
import importlib
import inspect
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fitnets import permissions
from fitnets.options import ConfigError, near

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""under which checkpoints of other programs hold the weights"""


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or "no message"


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
        raise ConfigError(
            f"{key}.target={target}: {target.rpartition('.')[2]}({given}) failed ({type(error).__name__}: "
            f"{first_line(error)}): give other {key}.args{_signature(factory)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise ConfigError(
            f"{key}.target={target}: it makes a {type(made).__name__}: give something that makes a torch.nn.Module"
        )
    lazy = next((name for name, parameter in made.named_parameters() if is_lazy(parameter)), None)
    if lazy is not None:
        raise ConfigError(
            f"{key}.target={target}: {lazy} has no shape yet: run one batch through the lazy modules in the factory"
        )
    return made


def _signature(factory: Callable[..., Any]) -> str:
    try:
        return f" (it takes {inspect.signature(factory)})"
    except (TypeError, ValueError):
        return ""


# --- weights ---


def read_weights(path: Path, model: nn.Module, key: str) -> None:
    """Load a safetensors file, or a file of `torch.save`, without executing code that may be in it.

    Raises ConfigError where the file is none of these, or other weights than the model's."""
    expected = model.state_dict()
    found = _without_prefix(_unwrapped(_read(path, key), path, key), set(expected))
    problems = [*_differences(found, expected)]
    if problems:
        raise ConfigError(f"{key}={path}: not the weights of this model: {problems[0]}")
    check_finite(found, f"{key}={path}")
    model.load_state_dict(found, strict=False)  # what is missing is the same tensor as one that is there


def check_finite(weights: Mapping[str, Tensor], what: str) -> None:
    """Raises ConfigError, which says what they are of, for the first tensor that is not finite throughout."""
    for name, values in weights.items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            count = int((~values.isfinite()).sum())
            raise ConfigError(f"{what}: {count} of the {values.numel()} values in {name} are not finite: give others")


def _read(path: Path, key: str) -> Any:
    if not path.is_file():
        raise ConfigError(f"{key}={path}: no such file: give one of safetensors, or of torch.save")
    permissions.check_readable(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{key}={path}: it holds more than tensors, and loading that could run code of its maker, or it is no file "
            "of torch.save: give torch.save(model.state_dict(), FILE), or a safetensors file"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(
            f"{key}={path}: cannot be read ({first_line(error)}): give a safetensors file, or one of "
            "torch.save(model.state_dict(), FILE)"
        ) from error


def _unwrapped(content: Any, path: Path, key: str) -> dict[str, Tensor]:
    """The weights, of a checkpoint that may hold more."""
    while isinstance(content, Mapping):
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = content if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(values, Tensor) for values in tensors.values()):
        told = ", ".join(map(str, list(tensors)[:5])) or type(content).__name__
        raise ConfigError(
            f"{key}={path}: no weights by name in it ({told}): give torch.save(model.state_dict(), FILE), or a "
            "safetensors file"
        )
    return dict(tensors)


def _without_prefix(weights: dict[str, Tensor], expected: set[str]) -> dict[str, Tensor]:
    """As they were before `nn.DataParallel`, `torch.compile` or this project (as a student) named them, where that is
    what they lack to be the expected ones."""
    for prefix in ("_orig_mod.", "module.", "_orig_mod.", "model."):
        if expected.isdisjoint(weights) and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): values for name, values in weights.items()}
    return weights


def _differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """Between the weights of a file and of a model; the first is the most telling."""
    there = {values.data_ptr() for name, values in expected.items() if name in found}
    missing = [name for name, values in expected.items() if name not in found and values.data_ptr() not in there]
    unknown = [name for name in found if name not in expected]
    told = [
        f"{name} is {_shape(found[name])} in the file and {_shape(expected[name])} in the model"
        for name in found
        if name in expected and found[name].shape != expected[name].shape
    ]
    if unknown:
        told.append(f"{len(unknown)} of its tensors are not in the model, {unknown[0]} the first")
    if missing:
        close = near(missing[0], list(found)).replace("did you mean", "the file has").replace("?", "")
        told.append(f"{len(missing)} of the model's tensors are not in the file, {missing[0]} the first{close}")
    return told


def _shape(values: Tensor) -> str:
    return "x".join(map(str, values.shape)) or "a number"
