"""Random images, as many and as large as a configuration implies, to measure times where the data are missing."""

import numpy as np
import torch
from numpy.typing import NDArray

from fitnets.config import Dataset, image_shape
from fitnets.config.seeds import seed_of
from fitnets.data import unread
from fitnets.data.held_out import train_and_validation_rows
from fitnets.data.sources import SplitPart, used_parts
from fitnets.data.splits import Data, Split

_DISTINCT = 256
"""number of images that are generated; they repeat to fill all rows"""


def counts(dataset: Dataset) -> dict[SplitPart, int] | None:
    """The number of images in each part for training and validation; None if one of them has to be decoded first."""
    parts = used_parts(dataset)
    count_by_part = {part: count for part in parts if (count := unread.image_count(dataset, part)) is not None}
    return count_by_part if len(count_by_part) == len(parts) else None


def load(dataset: Dataset, digest: str, device: torch.device) -> Data | None:
    """Random training and validation images, split as those of the data set are. None if their number is unknown.

    digest: stands in for the digest of real images."""
    count_by_part = counts(dataset)
    if count_by_part is None:
        return None
    labels_by_part: dict[SplitPart, NDArray[np.int64]] = {
        part: np.arange(count, dtype=np.int64) % dataset.classes for part, count in count_by_part.items()
    }
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_DISTINCT, *image_shape(dataset), generator=generator).to(device)
    labels = (torch.arange(_DISTINCT) % dataset.classes).to(device)
    train, valid = (
        Split(images, labels, rows.to(device) % _DISTINCT)
        for rows in train_and_validation_rows(labels_by_part, dataset)
    )
    return Data(train=train, valid=valid, digest=digest, view_seed=seed_of("views", dataset.seed))
