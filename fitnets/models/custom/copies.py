"""Copies of the user's module, also of one that `copy.deepcopy` cannot copy or copies wrongly."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fitnets.config import CustomNet
from fitnets.errors import ConfigError
from fitnets.models.custom import factory, imports
from fitnets.models.custom.factory import ImageShape


def why_not(model: nn.Module, net: CustomNet, image_shape: ImageShape) -> str | None:
    """Why `copy.deepcopy` cannot be used for this model; None if it can.

    Some models cannot be copied (locks, generators, tensors that are results of others, as with the old weight_norm).
    Others are copied in silence and go on computing with modules of the original, which a function in an attribute
    refers to: a copy must give finite outputs while all weights of the original are NaN."""
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # of PyTorch, or of the user's module
        return imports.first_line(error)
    if any(first is second for first, second in zip(model.parameters(), copied.parameters(), strict=True)):
        return "its copy shares parameters with it"
    if not all(values.is_leaf for values in copied.parameters()):  # of TorchScript
        return "the parameters of its copy are results of others"
    try:
        with factory.evaluating(copied), torch.no_grad(), _poisoned(model):
            images = factory.sized(net, factory.repeated(net, factory.random_images(image_shape)))
            output = copied(images)
    except Exception:  # said where the model is tried
        return None
    wrong = any(not bool(values.isfinite().all()) for values in _tensors(output))
    return "a function in one of its attributes refers to the original" if wrong else None


@contextmanager
def _poisoned(model: nn.Module) -> Iterator[None]:
    """All floating-point weights and buffers are NaN for the block."""
    tensors = [values for values in (*model.parameters(), *model.buffers()) if values.is_floating_point()]
    kept = [values.data for values in tensors]
    try:
        for values in tensors:
            values.data = torch.tensor(torch.nan, dtype=values.dtype).expand(values.shape)
        yield
    finally:
        for values, data in zip(tensors, kept, strict=True):
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


def made_again(model: nn.Module, net: CustomNet, image_shape: ImageShape, side: str, reason: str) -> nn.Module:
    """A new module of the factory with the weights, buffers and modes of this one, on its device.

    Raises ConfigError where the factory gives the same module at every call."""
    place = f"{side}.target={net.target}"
    again = factory.made(net, image_shape, side, seed=0)
    ours = {id(values) for values in model.parameters()}
    if any(id(values) in ours for values in again.parameters()):
        raise ConfigError(
            f"{place}: it gives the same weights at every call, and PyTorch cannot copy them ({reason}): make a new "
            "module in each call"
        )
    if again.state_dict().keys() != model.state_dict().keys():  # buffers that the first call has made
        factory.run(again, net, image_shape)
    device = next(model.parameters()).device
    again.to(device)
    again.load_state_dict(model.state_dict(), strict=False)  # extra state; the tensors follow
    for old_module, new_module in zip(model.modules(), again.modules(), strict=True):
        new_module.training = old_module.training
    parameters, buffers = dict(again.named_parameters()), dict(again.named_buffers())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameters[name].copy_(parameter)
            parameters[name].requires_grad_(parameter.requires_grad)
        for name, values in model.named_buffers():
            if name in buffers and buffers[name].shape == values.shape:
                buffers[name].copy_(values)
    return again
