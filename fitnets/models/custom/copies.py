"""Copies the user's module, even if `copy.deepcopy` cannot copy it or copies it wrongly."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fitnets.config import CustomNet
from fitnets.errors import ConfigError
from fitnets.models.custom import factory
from fitnets.models.custom.factory import ImageShape
from fitnets.system import imports


def why_not(model: nn.Module, net: CustomNet, image_shape: ImageShape) -> str | None:
    """Return why `copy.deepcopy` cannot copy this model; None if it can.

    Some models raise an error when copied: they hold locks, generators, or tensors computed from others, as with the
    old weight_norm. Other models have copies that still compute with modules of the original, if an attribute holds a
    function that refers to them. To detect this, the copy must give finite outputs while all weights of the original
    are NaN."""
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # from PyTorch or the user's module
        return imports.first_line(error)
    if any(first is second for first, second in zip(model.parameters(), copied.parameters(), strict=True)):
        return "its copy shares parameters with it"
    if not all(values.is_leaf for values in copied.parameters()):  # happens with TorchScript
        return "the parameters of its copy are computed from other tensors"
    try:
        with factory.evaluating(copied), torch.no_grad(), _poisoned(model):
            images = factory.sized(net, factory.repeated(net, factory.random_images(image_shape)))
            output = copied(images)
    except Exception:  # reported when the model is tried
        return None
    wrong = any(not bool(values.isfinite().all()) for values in _tensors(output))
    return "a function in one of its attributes refers to the original" if wrong else None


@contextmanager
def _poisoned(model: nn.Module) -> Iterator[None]:
    """Set all floating-point weights and buffers to NaN inside the block."""
    tensors = [values for values in (*model.parameters(), *model.buffers()) if values.is_floating_point()]
    originals = [values.data for values in tensors]
    try:
        for values in tensors:
            values.data = torch.tensor(torch.nan, dtype=values.dtype).expand(values.shape)
        yield
    finally:
        for values, data in zip(tensors, originals, strict=True):
            values.data = data


def _tensors(output: object) -> Iterator[Tensor]:
    """The floating-point tensors in a model's output."""
    match output:
        case Tensor():
            if output.is_floating_point():
                yield output
        case dict():
            for item in output.values():
                yield from _tensors(item)
        case tuple() | list():
            for item in output:
                yield from _tensors(item)


def rebuilt(model: nn.Module, net: CustomNet, image_shape: ImageShape, side: str, reason: str) -> nn.Module:
    """Call the factory again and give the new module the weights, buffers, modes and device of this one.

    reason: why PyTorch cannot copy the model, for the message.

    Raises ConfigError if the factory returns the same weights at every call."""
    place = f"{side}.target={net.target}"
    copied = factory.build(net, image_shape, side, seed=0)
    originals = {id(values) for values in model.parameters()}
    if any(id(values) in originals for values in copied.parameters()):
        raise ConfigError(
            f"{place}: it returns the same weights at every call, and PyTorch cannot copy them ({reason}): make a new "
            "module in each call"
        )
    if copied.state_dict().keys() != model.state_dict().keys():  # the first call adds buffers
        factory.run(copied, net, image_shape)
    device = next(model.parameters()).device
    copied.to(device)
    copied.load_state_dict(model.state_dict(), strict=False)  # for extra state; the tensors follow below
    for old_module, new_module in zip(model.modules(), copied.modules(), strict=True):
        new_module.training = old_module.training
    parameters, buffers = dict(copied.named_parameters()), dict(copied.named_buffers())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameters[name].copy_(parameter)
            parameters[name].requires_grad_(parameter.requires_grad)
        for name, values in model.named_buffers():
            if name in buffers and buffers[name].shape == values.shape:
                buffers[name].copy_(values)
    return copied
