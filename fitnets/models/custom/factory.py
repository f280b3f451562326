"""Calls the user's factory, and gives the module its weights: those of a file, or drawn with a seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fitnets.config import CustomNet
from fitnets.config.seeds import seed_of
from fitnets.errors import ConfigError
from fitnets.models.custom import weights
from fitnets.models.custom.advice import in_short
from fitnets.paths import expanded
from fitnets.system import imports

ImageShape = tuple[int, int, int]
PROBED = 2
"""number of images that a model is tried with; a single one could be confused with another dimension of size 1"""


def build(net: CustomNet, image_shape: ImageShape, side: str, seed: int) -> nn.Module:
    """Call the factory and return the module in fp32, on the CPU.

    Its weights come from the file `net.weights`. Without a file they are those that the factory draws with this seed.
    Lazy modules get their shapes from a batch of random images.

    image_shape: (C, H, W) of the data set.
    side: "teacher" or "student", for messages.

    Raises ConfigError if the factory, the file or the module cannot be used."""
    place = f"{side}.target={net.target}"
    factory, _ = imports.import_factory(net.target, f"{side}.target")
    with torch.device("cpu"), seeded(seed_of("custom weights", seed)):
        model = imports.call(factory, net.args or {}, place, f"{side}.args")
        if not isinstance(model, nn.Module):
            raise ConfigError(
                f"{place}: it returns a {type(model).__name__}: give a function or class that returns a torch.nn.Module"
            )
        _check_tensors(model, place)
        model = model.float()
        if net.weights is not None:
            weights.load(expanded(net.weights), model, f"{side}.weights", lambda: run(model, net, image_shape))
        if _has_lazy(model):
            with in_short(net, side, image_shape, model):
                run(model, net, image_shape)
    if net.weights is None:
        weights.check_finite(model, place)
    return model


def _check_tensors(model: nn.Module, place: str) -> None:
    """Raise ConfigError for tensors on the meta device, which have no values."""
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        if values.is_meta:
            raise ConfigError(f"{place}: {name} is on the meta device and has no values: build the module on the CPU")


def _has_lazy(model: nn.Module) -> bool:
    return any(is_lazy(values) for values in (*model.parameters(), *model.buffers()))


# --- trial images ---


def random_images(image_shape: ImageShape) -> Tensor:
    """Return the trial images: (2, C, H, W) in [0, 1], always the same."""
    return torch.rand(PROBED, *image_shape, generator=torch.Generator().manual_seed(0), device="cpu")


def run(model: nn.Module, net: CustomNet, image_shape: ImageShape) -> None:
    """Call the model once with random images, in evaluation mode.

    This gives lazy modules their shapes, and adds the buffers that some models make in their first call."""
    device = next((values.device for values in model.parameters() if not is_lazy(values)), None)
    with evaluating(model), torch.no_grad():
        model(sized(net, repeated(net, random_images(image_shape).to(device))))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode inside the block, and restore each module's mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def repeated(net: CustomNet, images: Tensor) -> Tensor:
    """Repeat the channel of grey images to the `channels` that the model takes. Other images are unchanged."""
    if net.channels is not None and images.shape[1] == 1:
        return images.expand(-1, net.channels, -1, -1)
    return images


def sized(net: CustomNet, images: Tensor) -> Tensor:
    """Resize images to the model's resolution, and copy them.

    The copy is laid out channels first, as models expect. It is always made, since a model may change its input in
    place."""
    size = net.size
    if size is not None and images.shape[2:] != (size, size):
        shrinks = size < min(images.shape[2:])
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=shrinks)
    return images.clone(memory_format=torch.contiguous_format)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch, NumPy and `random` inside the block, and restore their states afterwards.

    GPUs are only included if this process already uses them, so that none is initialised here."""
    states = random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
