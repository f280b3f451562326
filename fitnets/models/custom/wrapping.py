"""Builds the network of `teacher=custom` or `student=custom` from its import path."""

import copy
import json
from functools import lru_cache

import torch

from fitnets.config import CustomNet, Dataset, image_shape
from fitnets.config.options import plain, restore
from fitnets.errors import ConfigError
from fitnets.models.custom import imports
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.models.custom.factory import made
from fitnets.paths import expanded
from fitnets.store import digests


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
    with torch.device("cpu"):  # also where the caller wants shapes alone, on the meta device
        copied = copy.deepcopy(prototype)
        copied.settle()
    return copied


@lru_cache(maxsize=4)
def _prototype(option: str, _stamp: int | None, image_shape: tuple[int, int, int], side: str) -> CustomNetwork:
    """option: in JSON; stamp: of its weights."""
    net: CustomNet = restore(json.loads(option))
    with torch.device("cpu"):
        return CustomNetwork(made(net, image_shape, side, seed=0), net, image_shape, side)


def identity(net: CustomNet, dataset: Dataset, side: str, seed: int) -> list[str]:
    """Digests of what the option leaves open: the source that makes the model, and its first weights."""
    return [imports.source_digest(net.target), digests.of_state(made(net, image_shape(dataset), side, seed))]
