"""Facts about a data set that need no image: how many images a part has, and whether there is a test split."""

from fitnets.config import Config, Dataset, Digits, Folder, HubImages, OwnImages
from fitnets.data import sources
from fitnets.data.reading import folder, folder_layout, own
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


def image_count(dataset: Dataset, part: SplitPart) -> int | None:
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
        case OwnImages():
            return own.image_count(dataset, part)
        case _ if dataset.path is None:
            return _PUBLISHED.get(dataset.name, {}).get(getattr(dataset, f"{part}_split"))
        case _:
            return sources.row_count(dataset, part)


def has_test(config: Config) -> bool:
    """True if the run is evaluated on the test split at its end."""
    return config.test and has_test_split(config.dataset)


def has_test_split(dataset: Dataset) -> bool:
    """True if the data set has test images: a configured test split, or a test part of a folder."""
    if isinstance(dataset, Folder):
        return folder_layout.has_test(dataset.path)
    if isinstance(dataset, OwnImages):
        return own.has_part(dataset, "test")
    return not (isinstance(dataset, HubImages) and dataset.test_split is None)
