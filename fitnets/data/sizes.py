"""The number of images in a part of a data set, without decoding or downloading any."""

from fitnets.config import Dataset, Digits, Folder
from fitnets.data import sources
from fitnets.data.reading import folder
from fitnets.data.sources import SplitPart

_DIGITS = 1797
"""images in scikit-learn's digits, for training and test together"""
_PUBLISHED: dict[str, dict[str, int]] = {  # images of each split, by data set
    "mnist": {"train": 60_000, "test": 10_000},
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "svhn": {"train": 73_257, "extra": 531_131, "test": 26_032},
    "aflw": {"train": 45_000, "validation": 5_000},  # 25,000 faces and 25,000 other patches, nine tenths for training
}


def images(dataset: Dataset, part: SplitPart) -> int | None:
    """The number of images in a part: stated by local Parquet files, or published for a download. None if the images
    have to be decoded to count them.

    Raises ConfigError where local files are configured and missing."""
    match dataset:
        case Digits():
            return dataset.test_images if part == "test" else _DIGITS - dataset.test_images
        case Folder():
            if dataset.skip_broken or not folder.has_split(dataset):  # a split would be drawn
                return None
            return len(folder.images_by_part(dataset)[part])
        case _ if dataset.path is None:
            return _PUBLISHED.get(dataset.name, {}).get(getattr(dataset, f"{part}_split"))
        case _:
            return sources.row_count(dataset, part)
