"""Messages about the user's module: what the module cannot do, and the way out, in one line each."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import nn

from fitnets.config import CustomNet
from fitnets.errors import ConfigError
from fitnets.system.imports import first_line

_PRECISIONS = re.compile(r"c10::|BFloat16|\b(Half|half|Double|double|dtype)\b|scalar type", re.ASCII)
_CALLED_WRONGLY = re.compile(r"positional argument|keyword|argument\(s\)|unexpected .*argument|missing value for arg")


@contextmanager
def in_short(
    net: CustomNet,
    side: str,
    image_shape: tuple[int, int, int],
    model: nn.Module,
    *,
    what: str = "cannot take",
    way_out: str | None = None,
) -> Iterator[None]:
    """Turn any error of the user's module in this block into a ConfigError of one line.

    image_shape: (C, H, W) of the data set.
    what: the message's verb, before "images of CxHxW".
    way_out: the message's advice; None derives it from the error."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # from the user's code
        images = f"images of {'x'.join(map(str, image_shape))}"
        if net.size is not None:
            images += f", resized to {net.size}x{net.size}"
        raise ConfigError(
            f"{side}.target={net.target} {what} {images} ({type(error).__name__}: {first_line(error)}): "
            f"{way_out or _way_out(error, net, side, image_shape, model)}"
        ) from error


def _way_out(error: Exception, net: CustomNet, side: str, image_shape: tuple[int, int, int], model: nn.Module) -> str:
    message = str(error)
    if isinstance(error, TypeError | RuntimeError) and _CALLED_WRONGLY.search(message):
        return f"its forward{_signature(model)} is called with images alone: wrap it in a module that does the rest"
    if "CUDA" in message or re.search(r"same device|at least two devices", message):
        return (
            "it is tried on the CPU and then moved to engine.device: leave .cuda() out of it, and make new tensors "
            "with device=images.device"
        )
    if _PRECISIONS.search(message):
        return "images and weights are float32 here (engine.precision=bf16 casts by itself): leave the casts out of it"
    return _other_images(net, side, image_shape, model)


def _signature(model: nn.Module) -> str:
    with suppress(TypeError, ValueError):
        return str(inspect.signature(model.forward))
    return ""


def _other_images(net: CustomNet, side: str, image_shape: tuple[int, int, int], model: nn.Module) -> str:
    channels = image_shape[0]
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None or first.in_channels in (0, net.channels or channels):  # 0 in a lazy module
        return f"give {side}.size=PIXELS if it needs another resolution"
    wanted = f"its first convolution takes {first.in_channels} channels: give "
    if channels == 1:
        return f"{wanted}{side}.channels={first.in_channels}, which repeats the grey channel"
    return f"{wanted}dataset.channels={first.in_channels}, or a model for {channels} channels"


def check_can_be_guided(model: nn.Module, place: str, side: str) -> None:
    """Raise ConfigError for a TorchScript student: its layers take no hooks, and it cannot be exported."""
    if side == "student" and is_script(model):
        raise ConfigError(
            f"{place}: a TorchScript module cannot be a student: its layers take no hooks, and neither ONNX nor "
            f"torch.export take it: give the function that builds the eager model, with {side}.weights of its "
            "state_dict"
        )


def no_layers(model: nn.Module, place: str, side: str) -> str:
    """Return why a model has no layers for hints, with a way out."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        return (
            f"{place}: a TorchScript module can teach with its logits, but its inner layers take no hooks: give "
            f"hint_layer=none method=kd, or the function that builds the eager model, with {side}.weights of its "
            "state_dict"
        )
    return f"{place}: it has no modules whose outputs could be hints: give hint_layer=none method=kd"


def is_script(model: nn.Module) -> bool:
    """Return whether the module itself was scripted, traced, or read with `torch.jit.load`."""
    return isinstance(model, torch.jit.ScriptModule)


def without_parameters(model: nn.Module, place: str) -> str:
    if any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        return (
            f"{place}: a TorchScript module without parameters: torch.jit.freeze made them constants: give the module "
            "from before torch.jit.freeze"
        )
    return f"{place}: a module without parameters: give one that returns logits for images"
