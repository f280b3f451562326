"""Is there a test split? Answered from the configuration, without reading images."""

from fitnets.config import Config, Dataset, Folder, HubImages
from fitnets.data.reading import folder_layout


def has_test(config: Config) -> bool:
    """Whether the run ends with the test split."""
    return config.test and has_test_split(config.dataset)


def has_test_split(dataset: Dataset) -> bool:
    """Whether there are test images: a split of that name, or a part of a folder."""
    if isinstance(dataset, Folder):
        return folder_layout.has_test(dataset.path)
    return not (isinstance(dataset, HubImages) and dataset.test_split is None)
