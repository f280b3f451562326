"""Any `nn.Module` as teacher or student: found by import path, made, tried with two images, adapted.

Hooks are in this package alone: the project's own networks answer with named features."""

import copy
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from fitnets import digests, foreign
from fitnets.config import CustomNet, Dataset, image_shape
from fitnets.custom.adapter import CustomNetwork as CustomNetwork
from fitnets.custom.taps import Tap as Tap
from fitnets.options import ConfigError, plain, restore
from fitnets.places import expanded
from fitnets.seeds import seed_of


def network(net: CustomNet, dataset: Dataset, side: str) -> CustomNetwork:
    """The model for images of this data set. side: "teacher" or "student", for messages.

    Raises ConfigError where there is no such model, or it does not take the images or tell the classes apart."""
    weights = expanded(net.weights) if net.weights else None
    stamp = weights.stat().st_mtime_ns if weights is not None and weights.exists() else None
    shape = image_shape(dataset)
    prototype = _prototype(json.dumps(plain(net)), stamp, shape, side)
    if prototype.classes != dataset.classes:
        raise ConfigError(
            f"{side}.target={net.target}: it tells {prototype.classes} classes apart and dataset={dataset.name} has "
            f"{dataset.classes}: give {side}.args with the number of classes, and weights that were trained so"
        )
    return copy.deepcopy(prototype)


@lru_cache(maxsize=4)
def _prototype(option: str, _stamp: int | None, image_shape: tuple[int, int, int], side: str) -> CustomNetwork:
    """option: in JSON; stamp: of its weights."""
    net: CustomNet = restore(json.loads(option))
    with torch.device("cpu"):
        return CustomNetwork(made(net, side, seed=0), net, image_shape, side)


def made(net: CustomNet, side: str, seed: int) -> nn.Module:
    """What the factory makes, in fp32, with the weights of its file or those that it draws with a seed."""
    factory, _ = foreign.find(net.target, f"{side}.target")
    with torch.device("cpu"), _seeded(seed_of("custom weights", seed)):
        model = foreign.call(factory, net.args or {}, side, net.target).float()
    if net.weights is not None:
        foreign.read_weights(expanded(net.weights), model, f"{side}.weights")
    else:
        foreign.check_finite(model.state_dict(), f"{side}.target={net.target}")
    return model


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """What draws with PyTorch, NumPy or `random` draws the same; afterwards all three go on where they were. GPUs that
    nobody uses yet stay so."""
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


def identity(net: CustomNet, side: str, seed: int) -> list[str]:
    """What the option does not tell, by digest: the source that makes the model, and its first weights."""
    return [foreign.source_digest(net.target), digests.of_state(made(net, side, seed))]
