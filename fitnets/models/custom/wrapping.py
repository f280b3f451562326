"""Builds the network of `teacher=custom` or `student=custom`."""

import copy
import json
from functools import lru_cache

import torch

from fitnets.config import CustomNet, Dataset, LibraryStudent, LibraryTeacher, image_shape
from fitnets.config.options import plain, restore
from fitnets.errors import ConfigError
from fitnets.models.custom import factory, libraries
from fitnets.models.custom.adapter import CustomNetwork
from fitnets.paths import expanded
from fitnets.store import digests
from fitnets.system import imports


def network(net: CustomNet, dataset: Dataset, side: str) -> CustomNetwork:
    """Build the user's model for the images of a data set, and return a copy of it as a network.

    The model is built and tried only once per option and weight file.

    side: "teacher" or "student", for messages.

    Raises ConfigError if there is no such model, it does not take the images, or it has another number of classes."""
    weights = expanded(net.weights) if net.weights else None
    modified_at = weights.stat().st_mtime_ns if weights is not None and weights.exists() else None
    shape = image_shape(dataset)
    prototype = _prototype(json.dumps(plain(net)), modified_at, shape, side)
    if prototype.classes != dataset.classes:
        raise ConfigError(
            f"{side}.target={net.target}: it has {prototype.classes} classes and dataset={dataset.name} has "
            f"{dataset.classes}: give {_way_out(side)}"
        )
    with torch.device("cpu"):  # even if the caller builds networks on the meta device, for their shapes
        copied = copy.deepcopy(prototype)
        copied.settle()
    return copied


def _way_out(side: str) -> str:
    fitting = f"{side}.args with the number of classes, and weights that were trained for them"
    if side == "student":
        return fitting
    return f"{fitting}; or teacher.outputs=[...], the numbers of the logits that stand for the classes of the data"


@lru_cache(maxsize=4)
def _prototype(option: str, _modified_at: int | None, image_shape: tuple[int, int, int], side: str) -> CustomNetwork:
    """Build and try the model. Cached by its option, as JSON, and by the time its weight file was modified."""
    net: CustomNet = restore(json.loads(option))
    with torch.device("cpu"):
        return CustomNetwork(factory.build(net, image_shape, side, seed=0), net, image_shape, side)


def identity(net: CustomNet, dataset: Dataset, side: str, seed: int) -> list[str]:
    """Return hashes of the factory's source and of the initial weights, which the option does not contain."""
    initial = factory.build(net, image_shape(dataset), side, seed)
    if isinstance(net, LibraryTeacher | LibraryStudent):
        return [libraries.version(net.library), digests.of_state(initial)]
    return [imports.source_digest(net.target), digests.of_state(initial)]
