"""Hooks on a model's modules, which receive the modules' outputs in a forward pass."""

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
    """The output of a module in a forward pass, described as a `layers.LayerOutput`.

    module: dotted name of the module.
    call: number of the module's call in the forward pass, from 0.
    out_shape: shape for one image.
    activation: ReLU if no value of the trial was negative, else none.
    multiplications: multiply-accumulates for one image up to this output."""

    module: str
    call: int
    out_shape: tuple[int, ...]
    activation: Activation
    multiplications: int
    tied_biases: bool = True


class Reached(BaseException):
    """Raised by a hook to end a forward pass when the wanted outputs are computed.

    It is no `Exception`, so that a user's module does not catch it."""


def hookable(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules whose outputs can be hooked, by name.

    TorchScript modules take no hooks. Modules of a parametrization (weight_norm, spectral_norm) are left out because
    they compute weights."""
    modules = dict(model.named_modules())
    opaque = tuple(
        f"{name}." if name else ""
        for name, module in modules.items()
        if isinstance(module, torch.jit.ScriptModule | ParametrizationList)
    )
    return {name: module for name, module in modules.items() if name and not f"{name}.".startswith(opaque)}


def submodule(model: nn.Module, name: str) -> nn.Module:
    """Return the module of this name. Unlike `get_submodule`, TorchScript and names with dots in them are accepted."""
    try:
        module: nn.Module = model.get_submodule(name)
    except Exception:  # AttributeError, or an error from the `__getattr__` of a user's module
        module = dict(model.named_modules())[name]
    return module


def _channels_last(model: nn.Module) -> set[str]:
    """The names of modules whose maps are (N, H, W, C): those inside a module of timm whose `output_fmt` says so,
    except for convolutions and batch normalisation."""
    modules = dict(model.named_modules())
    roots = tuple(
        f"{name}." if name else "" for name, module in modules.items() if vars(module).get("output_fmt") == "NHWC"
    )
    return {
        name
        for name, module in modules.items()
        if f"{name}.".startswith(roots) and not isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    }


@contextmanager
def hooks(model: nn.Module, names: Collection[str], take: Callable[[str, int, Tensor], None]) -> Iterator[None]:
    """Call `take(module, call, output)` for every call of these modules inside the block.

    names: dotted names of the modules.
    take: gets the module's name, the number of its call from 0, and the first tensor of its output. Maps have their
        channels first, also those of modules that say of themselves that they have them last."""
    calls: Counter[str] = Counter()
    channels_last = _channels_last(model)

    def hook(module: str, output: Any) -> None:
        call = calls[module]
        calls[module] += 1
        values = first_tensor(output)
        if values is not None:
            is_turned = values.ndim == 4 and module in channels_last
            take(module, call, values.permute(0, 3, 1, 2) if is_turned else values)

    handles = [
        submodule(model, name).register_forward_hook(lambda _module, _inputs, output, name=name: hook(name, output))
        for name in names
    ]
    try:
        with _eagerly(model) if names else nullcontext():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _eagerly(model: nn.Module) -> AbstractContextManager[Any]:
    """Run a model of `torch.compile` uncompiled: with new hooks it would be compiled again at every call."""
    is_compiled = any(
        "_orig_mod" in module._modules or module._compiled_call_impl is not None for module in model.modules()
    )
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor in a module's output (a tensor, tuple, list, dict or ModelOutput), or None."""
    match output:
        case Tensor():
            return output
        case Mapping():
            return next((item for item in output.values() if isinstance(item, Tensor)), None)
        case tuple() | list():
            return next((item for item in output if isinstance(item, Tensor)), None)
        case _:
            return None
