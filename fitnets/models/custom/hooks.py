"""Hooks on a model's modules: their outputs in one forward pass."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from fitnets.models.layers import Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """An output of one of a model's modules (`layers.LayerOutput`). call: which one of the module's in a forward pass,
    from 0; multiplications: of one image, until it is there."""

    module: str
    call: int
    out_shape: tuple[int, ...]
    activation: Activation
    multiplications: int
    tied_biases: bool = True


class Reached(BaseException):
    """Ends a forward pass where the wanted output is there."""

    def __init__(self, output: Tensor):
        super().__init__()
        self.output = output


def hookable(model: nn.Module) -> dict[str, nn.Module]:
    """The modules whose outputs can be listened to, by name: those of TorchScript take no hooks, and those of a
    parametrization (weight_norm, spectral_norm) compute weights."""
    modules = dict(model.named_modules())
    opaque = tuple(
        f"{name}." if name else ""
        for name, module in modules.items()
        if isinstance(module, torch.jit.ScriptModule | ParametrizationList)
    )
    return {name: module for name, module in modules.items() if name and not f"{name}.".startswith(opaque)}


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The module of this name. Unlike `get_submodule` it works with TorchScript, and where a name has a dot in it."""
    try:
        found: nn.Module = model.get_submodule(name)
    except Exception:  # AttributeError, or what the `__getattr__` of a user's module raises
        found = dict(model.named_modules())[name]
    return found


@contextmanager
def hooks(model: nn.Module, names: Collection[str], take: Callable[[str, int, Tensor], None]) -> Iterator[None]:
    """Hand over (module, which call of it from 0, first tensor of its output) of these modules' calls."""
    calls: Counter[str] = Counter()

    def hook(module: str, output: Any) -> None:
        call = calls[module]
        calls[module] += 1
        values = first_tensor(output)
        if values is not None:
            take(module, call, values)

    handles = [
        submodule(model, name).register_forward_hook(lambda _module, _given, output, name=name: hook(name, output))
        for name in names
    ]
    try:
        with _eagerly(model) if names else nullcontext():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _eagerly(model: nn.Module) -> AbstractContextManager[Any]:
    """Run a module of `torch.compile` as it was written: with other hooks it would be compiled again at every call."""
    is_compiled = any(
        "_orig_mod" in module._modules or module._compiled_call_impl is not None for module in model.modules()
    )
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


def first_tensor(output: Any) -> Tensor | None:
    """Of a tensor, tuple, list, dict or ModelOutput."""
    match output:
        case Tensor():
            return output
        case Mapping():
            return next((item for item in output.values() if isinstance(item, Tensor)), None)
        case tuple() | list():
            return next((item for item in output if isinstance(item, Tensor)), None)
        case _:
            return None
