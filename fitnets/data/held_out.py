"""Divides the rows of a data set into those held out for validation and those trained on."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fitnets.config import Dataset, HubImages, OwnImages
from fitnets.config.seeds import seed_of
from fitnets.data.draws import equal_draw, proportional_draw
from fitnets.data.sources import SplitPart, has_validation_part
from fitnets.errors import ConfigError


def train_and_validation_rows(
    labels_by_part: dict[SplitPart, NDArray[np.int64]], dataset: Dataset
) -> tuple[Tensor, Tensor]:
    """The rows to train on and the rows for validation, both ascending. A row counts through all parts in their order.

    labels_by_part: the labels of each part, in the order of its rows.

    Raises ConfigError if the validation images leave none to train on, or cannot be drawn evenly."""
    is_held_out = np.concatenate([_held_out(dataset, part, labels) for part, labels in labels_by_part.items()])
    train = np.flatnonzero(~is_held_out)
    if dataset.train_share < 1:
        train_labels = np.concatenate(list(labels_by_part.values()))[train]
        count = max(1, round(dataset.train_share * len(train)))
        train = train[proportional_draw(train_labels, count, seed_of("training share", dataset.seed))]
    return torch.from_numpy(train), torch.from_numpy(np.flatnonzero(is_held_out))


def _held_out(dataset: Dataset, part: SplitPart, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A mask of the rows of a part that are for validation."""
    if has_validation_part(dataset):
        return np.full(len(labels), part == "validation")
    seed = seed_of("validation" if part == "train" else f"validation of {part}", dataset.seed)
    if isinstance(dataset, OwnImages):
        return proportional_draw(labels, max(1, round(dataset.validation_share * len(labels))), seed)
    key = "extra_validation" if part == "extra" else "validation_images"
    count: int = getattr(dataset, key)
    if count >= len(labels):
        raise ConfigError(
            f"dataset.{key}={count} leaves no image to train on: {dataset.name} has {len(labels)} in its {part} "
            f"split: give fewer than {len(labels)}"
        )
    rule = dataset.validation_rule if isinstance(dataset, HubImages) else "by_class"
    match rule:
        case "last":
            return np.arange(len(labels)) >= len(labels) - count
        case "by_class":
            return proportional_draw(labels, count, seed)
        case "equal":
            each, rest = divmod(count, dataset.classes)
            try:
                if rest:
                    raise ValueError(f"give a multiple of the number of classes, {dataset.classes}")
                return equal_draw(labels, each, seed)
            except ValueError as error:
                raise ConfigError(
                    f"dataset.{key}={count} with validation_rule=equal ({each} a class of the {part} split): {error}"
                ) from error
