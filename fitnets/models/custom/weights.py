"""Loads weights from other programs' files into a user's module. The module's `load_state_dict` decides what fits.

The file is read without executing code. All state dicts in it are tried in order of preference, each as it is and with
the names that it has without wrappers such as DataParallel. If none fits, the message describes the closest one.
"""

import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fitnets.errors import ConfigError, suggest
from fitnets.system import permissions
from fitnets.system.imports import first_line

State = dict[str, Any]
"""a state dict: tensors by name, and the extra state of modules"""

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "student", "teacher")
"""keys under which other programs' checkpoints hold the weights, in order of preference"""
_WRAPPER_MODULES = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""names that `torch.compile`, DataParallel, FSDP and activation checkpointing add to a parameter's path"""
_COUNTERS = {"num_batches_tracked", "n_averaged"}
"""counters of batch normalisation and `AveragedModel`, which many files lack; no output depends on them"""
_NOT_OF_THE_MODEL = {"n_averaged", "module.n_averaged", "image_scale", "image_shift"}
"""entries that `AveragedModel` and this project's students add to those of the model"""
_LISTED = 3
"""largest number of names in a message"""


def load(path: Path, model: nn.Module, key: str, run: Callable[[], None]) -> None:
    """Load a safetensors or `torch.save` file into a model, without executing code that the file may hold.

    If the file holds several state dicts, such as an average of the weights (EMA), the first one that fits is loaded;
    `state_dict` and `model` are tried before others. Names may differ from the model's by a prefix that all of them
    share, or by the names that torch.compile, DataParallel and other wrappers add.

    key: key of the configuration, for messages.
    run: calls the model once, to add the buffers that some models make in their first call.

    Raises ConfigError if the file cannot be read, holds the weights of another model, or has values that are not
    finite."""
    content = _read(path, key)
    states = list(_states(content))
    if not states:
        content_names = list(map(str, content))[:5] if isinstance(content, Mapping) else [type(content).__name__]
        raise ConfigError(
            f"{key}={path}: no weights by name in it ({', '.join(content_names)}): give "
            "torch.save(model.state_dict(), FILE), or a safetensors file"
        )
    problem = _load_first(states, model)
    if problem and _runs(run):
        problem = _load_first(states, model)
    if problem:
        raise ConfigError(f"{key}={path}: not the weights of this model: {problem}")
    check_finite(model, f"{key}={path}")


def _load_first(states: list[State], model: nn.Module) -> str | None:
    """Load the first state dict that fits. If none does, return what is wrong with the closest one."""
    problems: list[tuple[int, str]] = []
    for state in states:
        for candidate in _renamings(state, list(model.state_dict())):
            problem = _load(candidate, model)
            if problem is None:
                return None
            problems.append(problem)
    return min(problems, key=lambda problem: problem[0])[1]


def _runs(run: Callable[[], None]) -> bool:
    try:
        run()
    except Exception:  # from the user's code, and reported when the model is tried
        return False
    return True


def _load(state: State, model: nn.Module) -> tuple[int, str] | None:
    """Load a state dict. If it does not fit, return the number of tensors that do not, and a message about them."""
    try:
        result = model.load_state_dict(state, strict=False)
    except Exception as error:  # other shapes, or an error from the user's hooks
        return _misfits(state, model.state_dict(), error)
    missing = _needed(result.missing_keys, state, model)
    if not missing and not result.unexpected_keys:
        return None
    return len(missing) + len(result.unexpected_keys), _listed(missing, list(result.unexpected_keys), state)


def _needed(missing: list[str], state: State, model: nn.Module) -> list[str]:
    """Return the missing names without counters, and without tensors that were loaded under another name."""
    expected = model.state_dict()
    loaded = {_memory(expected[name]) for name in state if name in expected}
    return [
        name
        for name in missing
        if name.rpartition(".")[2] not in _COUNTERS and (name not in expected or _memory(expected[name]) not in loaded)
    ]


def _memory(values: Any) -> Any:
    """Identify the memory of a tensor: equal for all names of one tensor."""
    if not isinstance(values, Tensor) or is_lazy(values) or values.layout != torch.strided or values.numel() == 0:
        return id(values)
    return values.data_ptr(), values.shape, values.stride()


# --- messages ---


def _misfits(state: State, expected: State, error: Exception) -> tuple[int, str]:
    differences = [
        f"{name} is {_shape(state[name])} in the file and {_shape(expected[name])} in the model"
        for name in state
        if isinstance(expected.get(name), Tensor)
        and isinstance(state[name], Tensor)
        and not is_lazy(expected[name])
        and _shape(expected[name]) != _shape(state[name])
    ]
    more = [f"{len(differences) - _LISTED} more differ"] if len(differences) > _LISTED else []
    return max(1, len(differences)), "; ".join([*differences[:_LISTED], *more]) or _second_line(error)


def _second_line(error: Exception) -> str:
    """The second line of an error of `load_state_dict`, whose first line only names the model's class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else f"{type(error).__name__}: {first_line(error)}"


def _listed(missing: list[str], unexpected: list[str], state: State) -> str:
    problems = []
    if missing:
        close = suggest(missing[0], unexpected or list(state)).replace("did you mean", "the file has").replace("?", "")
        problems.append(f"{len(missing)} of the model's tensors are not in the file ({_few(missing)}{close})")
    if unexpected:
        problems.append(f"{len(unexpected)} of its tensors are not in the model ({_few(unexpected)})")
    return "; ".join(problems)


def _few(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + ", ..." * (len(names) > _LISTED)


def _shape(values: Tensor) -> str:
    return "x".join(map(str, values.shape)) or "a number"


def check_finite(model: nn.Module, what: str) -> None:
    """Raise ConfigError if a parameter has values that are not finite, or a buffer has NaNs.

    Infinities in buffers are allowed, since masks hold them.

    what: the source of the weights, for the message."""
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    for name, values in model.state_dict().items():
        if not isinstance(values, Tensor) or not (values.is_floating_point() or values.is_complex()):
            continue
        values = values.to_dense() if values.layout != torch.strided else values
        wrong = values.isnan() if name in buffers else ~values.isfinite()
        if count := int(wrong.sum()):
            raise ConfigError(
                f"{what}: {count} of the {values.numel()} values in {name} are not finite: give other weights"
            )


# --- files ---


def _read(path: Path, key: str) -> Any:
    if not path.is_file():
        raise ConfigError(f"{key}={path}: no such file: give a file of safetensors or torch.save")
    permissions.check_readable(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about TorchScript, which is reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{key}={path}: it holds more than tensors, and loading that could run code of the file's author, or it is "
            "not a file of torch.save: give torch.save(model.state_dict(), FILE), or a safetensors file"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        if "TorchScript" in str(error):
            raise ConfigError(_script_message(path, key)) from error
        raise ConfigError(
            f"{key}={path}: cannot be read ({first_line(error)}): give a safetensors file, or one of "
            "torch.save(model.state_dict(), FILE)"
        ) from error


def _script_message(path: Path, key: str) -> str:
    side = key.partition(".")[0]
    way_out = "give torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
    if side == "teacher":
        way_out += (
            "; or let the program teach with its logits alone: teacher.target=torch.jit.load "
            f"'teacher.args={{f: \"{path}\"}}' teacher.weights=null hint_layer=none method=kd"
        )
    return f"{key}={path}: a TorchScript archive, which is a program and not a file of weights: {way_out}"


def _states(content: Any, depth: int = 0) -> Iterator[State]:
    """Yield the state dicts in a checkpoint, in order of preference."""
    if not isinstance(content, Mapping) or depth > 3:
        return
    inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
    inner += [
        value
        for name, value in content.items()
        if isinstance(name, str)
        and isinstance(value, Mapping)
        and name not in _WRAPPERS
        and not name.startswith("optim")
    ]
    if any(isinstance(value, Tensor) for value in content.values()):
        yield _with_versions(content)
    for value in inner:
        yield from _states(value, depth + 1)


def _with_versions(content: Mapping[Any, Any]) -> State:
    """Copy a state dict with the version numbers of its modules, which PyTorch keeps in an attribute."""
    state = _WithMetadata((name, value) for name, value in content.items() if isinstance(name, str))
    state._metadata = getattr(content, "_metadata", None)
    return state


class _WithMetadata(dict[str, Any]):
    _metadata: Any = None


# --- names ---


def _renamings(state: State, expected: list[str]) -> Iterator[State]:
    """Yield the state dict as it is, and with the model's names.

    The names are compared without those that wrappers add, and without a prefix that all of them share.

    expected: the model's names."""
    yield state
    plain = {_without_wrappers(name): name for name in expected}
    if len(plain) < len(expected):  # a module of the model has the name of a wrapper
        plain = {name: name for name in expected}
    names = {
        name: name if name in plain else _without_wrappers(name)
        for name, values in state.items()
        if name not in _NOT_OF_THE_MODEL and _is_weight(values, name)
    }
    while names and plain.keys().isdisjoint(names.values()) and _have_prefix(names):
        names = {name: short.partition(".")[2] for name, short in names.items()}
    changed = {name: plain.get(short, short) for name, short in names.items()}
    if [*changed.values()] != [*state]:
        yield _with_names(state, changed)


def _with_names(state: State, names: dict[str, str]) -> State:
    """Rename the entries of a state dict. names: new name by old name; other entries are dropped."""
    renamed = _WithMetadata((names[name], values) for name, values in state.items() if name in names)
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        owners = {name.rpartition(".")[0]: new.rpartition(".")[0] for name, new in names.items()}
        renamed._metadata = {owners[name]: facts for name, facts in metadata.items() if name in owners}
    return renamed


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPER_MODULES)


def _have_prefix(names: dict[str, str]) -> bool:
    """Return whether all names begin with the same module."""
    return len({short.partition(".")[0] for short in names.values()}) == 1 and all("." in s for s in names.values())


def _is_weight(value: Any, name: str) -> bool:
    """Return whether an entry belongs to the weights, unlike numbers and text such as an epoch."""
    return isinstance(value, Tensor) or name.endswith("_extra_state") or "_packed_params" in name
