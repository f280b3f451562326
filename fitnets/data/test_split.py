"""Decides from the configuration whether there is a test split. No image is read."""

from fitnets.config import Config, Dataset, Folder, HubImages
from fitnets.data.reading import folder_layout


def has_test(config: Config) -> bool:
    """True if the run is evaluated on the test split at its end."""
    return config.test and has_test_split(config.dataset)


def has_test_split(dataset: Dataset) -> bool:
    """True if the data set has test images: a configured test split, or a test part of a folder."""
    if isinstance(dataset, Folder):
        return folder_layout.has_test(dataset.path)
    return not (isinstance(dataset, HubImages) and dataset.test_split is None)
