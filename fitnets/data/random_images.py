"""Random images in the number and size that a configuration implies: what times are measured on where no data are."""

import numpy as np
import torch
from numpy.typing import NDArray

from fitnets.config import Dataset, image_shape
from fitnets.config.seeds import seed_of
from fitnets.data import sizes, splits
from fitnets.data.sources import SplitPart, has_validation_part, training_parts
from fitnets.data.splits import Data, Split

_DIFFERENT = 256
"""images that are made; all rows are of these"""


def counts(dataset: Dataset) -> dict[SplitPart, int] | None:
    """The images of each part that is trained or selected on; None where only decoding tells."""
    parts: list[SplitPart] = [*training_parts(dataset)]
    if has_validation_part(dataset):
        parts.append("validation")
    found = {part: sizes.images(dataset, part) for part in parts}
    known = {part: count for part, count in found.items() if count is not None}
    return known if len(known) == len(found) else None


def load(dataset: Dataset, digest: str, device: torch.device) -> Data | None:
    """Training and validation images, divided as the data set's would be. None where their number is not known."""
    known = counts(dataset)
    if known is None:
        return None
    labels: dict[SplitPart, NDArray[np.int64]] = {
        part: np.arange(count, dtype=np.int64) % dataset.classes for part, count in known.items()
    }
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_DIFFERENT, *image_shape(dataset), generator=generator).to(device)
    of_images = (torch.arange(_DIFFERENT) % dataset.classes).to(device)
    train, valid = (Split(images, of_images, rows.to(device) % _DIFFERENT) for rows in splits.split(labels, dataset))
    return Data(train=train, valid=valid, digest=digest, view_seed=seed_of("views", dataset.seed))
