"""Measures a finished network on a split of its own data set, or on other data."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitnets.config import Config, Dataset, Folder, Precision, image_shape
from fitnets.data import class_names, preprocessing, splits
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.data.reading import folder
from fitnets.data.splits import SplitName
from fitnets.data.unread import has_test_split
from fitnets.errors import ConfigError
from fitnets.machine import devices
from fitnets.machine import latency as machine_latency
from fitnets.models import build
from fitnets.models.network import Network, place
from fitnets.paths import expanded
from fitnets.progress import Progress
from fitnets.store import directories, earlier_runs, ownership, weights
from fitnets.store.earlier_runs import StoredNetwork
from fitnets.training import metrics


def evaluate(
    network: StoredNetwork, dataset: Dataset, split: SplitName | None, settings: Config, progress: Progress
) -> dict[str, Any]:
    """Measure a stored network on images. The images are preprocessed like those that the network was trained on, and
    the classes of the data are matched to the network's classes by name.

    dataset: the data to evaluate on
    split: None takes the test split of the network's own data set, and all images of other data
    settings: the configuration whose engine and store are used

    Returns the content of `fitnets eval --json`: accuracy, error and calibration error as fractions, loss in nats,
    accuracy and number of images of each class, the confusion matrix (rows: true classes, columns: predicted classes),
    and notes.

    Raises ConfigError if images and network do not fit, or if there is no such split."""
    device = devices.set_up_device(settings.engine)
    directories.check_writable(settings.root)
    trained_on = network.config.dataset
    images = replace(dataset, preprocessing=trained_on.preprocessing)
    _check_size(trained_on, images)
    is_same_place = _is_same_place(images, trained_on)
    if is_same_place and not isinstance(images, Folder):
        is_same_data = True
    else:  # an explicit split of other data is evaluated without reading the rest of them
        may_be_same = is_same_place or (split is None and _has_split(images))
        is_same_data = may_be_same and _has_images_of(network, images, settings.root, progress)
    names, network_labels, notes = _matched(network, images, is_same_data=is_same_data)
    if is_same_place and isinstance(images, Folder) and not is_same_data:
        notes.append("images or split have changed since the run: it may have been trained on some of these")
    if split is None and (is_same_place or is_same_data):
        split = "test"
    _check_split(images, split, is_same_place=is_same_place)
    fitted = fitted_values(network, settings.root, progress)
    if split is None:
        part = splits.load_all(images, settings.root, device, progress, fitted)
    else:
        part = splits.load_split(images, split, settings.root, device, progress, fitted_on=trained_on, fitted=fitted)
    logits, labels = metrics.predict(rebuild(network, settings, device), part, settings.engine.eval_batch_size)
    labels = torch.tensor(network_labels, device=labels.device)[labels]
    facts = {"network": str(network.weights), "dataset": dataset.name, "split": split or "all", "images": len(part)}
    return facts | metrics.quality(logits, labels) | {"classes": names, **by_class(logits, labels), "notes": notes}


def by_class(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Count each class by itself. The lists `class_images` and `class_accuracy` (None for a class without images) and
    the rows of `confusion` are ordered by label.

    logits: (N, classes)
    labels: (N,)"""
    confusion = metrics.confusion_counts(logits, labels)
    images = [sum(row) for row in confusion]
    accuracy = [row[label] / images[label] if images[label] else None for label, row in enumerate(confusion)]
    return {"class_images": images, "class_accuracy": accuracy, "confusion": confusion}


# --- data and network ---


def _check_size(trained_on: Dataset, dataset: Dataset) -> None:
    for key in ("channels", "height", "width"):
        size, trained_size = getattr(dataset, key), getattr(trained_on, key)
        if size != trained_size:
            raise ConfigError(
                f"dataset={dataset.name}: dataset.{key}={size}, and the network was trained with {trained_size}: give "
                f"images like those of {trained_on.name}"
            )


def _matched(network: StoredNetwork, dataset: Dataset, *, is_same_data: bool) -> tuple[list[str], list[int], list[str]]:
    """Match the classes of the data to those of the network by name.

    is_same_data: whether these are the images and labels that the network was trained on

    Returns (the network's class names, the network's label for each label of the data, notes). Raises ConfigError for a
    class that the network does not have."""
    of_network, of_data = class_names.of_network(network), class_names.of_data(dataset)
    count = network.config.dataset.classes
    names = class_names.number_labels(of_network.names, count)
    notes = [note for note in (None if is_same_data else of_network.note, of_data.note) if note]
    if of_network.names is None or of_data.names is None:
        if dataset.classes > count:
            raise ConfigError(
                f"{class_names.choice_of(dataset)}: {dataset.classes} classes without names, and the network has "
                f"{count}: give data with the classes of {network.config.dataset.name}"
            )
        if not is_same_data:
            unnamed = "the network's" if of_network.names is None else "the data's"
            notes.append(f"{unnamed} class names are unknown: labels are compared by their numbers")
        return names, list(range(dataset.classes)), notes
    try:
        labels = class_names.labels_in(of_network.names, of_data.names)
    except ValueError as error:
        raise ConfigError(
            f"{class_names.choice_of(dataset)}: the network does not know the classes {error}: it was trained on "
            f"{class_names.listed(of_network.names)}: give data with these classes alone"
        ) from error
    if labels != sorted(labels):
        notes.append("the data have the classes in another order: they were matched by name")
    missing = [name for label, name in enumerate(of_network.names) if label not in set(labels)]
    if missing:
        matched = f"{len(labels)} of the network's {count} classes, matched by name"
        notes.append(f"the data have {matched}, without {class_names.listed(missing)}")
    return names, labels, notes


def _is_same_place(dataset: Dataset, trained_on: Dataset) -> bool:
    """Return whether the images come from the place where the network's training images were; their split may
    differ."""
    return _place(dataset) == _place(trained_on)


def _place(dataset: Dataset) -> list[object]:
    keys = [getattr(dataset, key, None) for key in ("hub", "subset", "label_column")]
    path = getattr(dataset, "path", None)
    return [type(dataset), dataset.name, *keys, path and expanded(path).resolve()]


def _has_split(dataset: Dataset) -> bool:
    """Return whether the data set has a saved split. Without one, reading a split would draw and write a new one."""
    return not isinstance(dataset, Folder) or folder.has_split(dataset)


def _has_images_of(network: StoredNetwork, dataset: Dataset, root: Path, progress: Progress) -> bool:
    """Return whether the training and validation images of the data set are those that the network was trained on."""
    if type(dataset) is not type(network.config.dataset):
        return False
    try:
        return splits.digest(dataset, root, progress) == network.data_digest()
    except ConfigError:  # there is no training split, or it belongs to other images
        return False


def _check_split(dataset: Dataset, split: SplitName | None, *, is_same_place: bool) -> None:
    if split == "test" and not has_test_split(dataset):
        raise ConfigError(f"dataset={dataset.name} has no test split: give --split valid")
    if split is not None and not is_same_place and not _has_split(dataset):
        raise ConfigError(
            f"--split {split}: dataset.path={getattr(dataset, 'path', None)} has no saved split: leave --split out to "
            "evaluate all of its images"
        )


def fitted_values(network: StoredNetwork, root: Path, progress: Progress) -> FittedPreprocessing:
    """The values to which the network's preprocessing was fitted. They are read from the network's record; if the
    record of an earlier version has none, they are fitted again on the training images.

    Raises ConfigError if the training images are needed and have changed."""
    recorded = network.read_record().get("fitted")
    if recorded is not None:
        return preprocessing.from_json(recorded)
    trained_on = network.config.dataset
    is_fitted = preprocessing.is_fitted(trained_on.preprocessing)
    if is_fitted and splits.digest(trained_on, root, progress) != network.data_digest():
        raise ConfigError(
            f"the network's preprocessing was fitted on other images than those that dataset={trained_on.name} has "
            "now: restore the images of that time in the same place"
        )
    return splits.fitted_values(trained_on, root, progress)


@contextmanager
def working_store(network: StoredNetwork, store: str | None) -> Iterator[Path]:
    """The store for decoded images while the block runs. Nothing is written elsewhere.

    store: this folder if it is not None; else the network's own store if it can be written, else a temporary folder"""
    if store is not None:
        yield expanded(store)
        return
    root = network.weights.resolve().parent.parent.parent
    if ownership.is_store(root) and _is_writable(root):
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="fitnets-") as temporary:
        yield Path(temporary)


def _is_writable(root: Path) -> bool:
    try:
        directories.check_writable(root)
    except ConfigError:
        return False
    return True


def latency(run: Path, settings: Config) -> dict[str, float]:
    """Measure the latency of a run's student on this machine, in milliseconds.

    Returns the student's entry of `machine.latency.latencies`."""
    network = earlier_runs.find_network(str(run), "run")
    dataset, device = network.config.dataset, devices.set_up_device(settings.engine)
    rebuilt = rebuild(network, settings, device)
    image = torch.zeros(*image_shape(dataset), device=device)
    return machine_latency.latencies({"student": rebuilt}, image)["student"]


def rebuild(network: StoredNetwork, settings: Config, device: torch.device) -> Network:
    """Build a stored network with its trained weights, on the device."""
    rebuilt = build.network(network.net, network.config.dataset, "student")
    weights.read_weights(network.weights, rebuilt)
    return place(rebuilt, device, _precision(network, settings, device))


def _precision(network: StoredNetwork, settings: Config, device: torch.device) -> Precision:
    """The precision that the settings choose; for `auto`, the precision in which a run trained the network."""
    if settings.engine.precision == "auto" and network.is_student:
        trained_in: Precision = network.read_record().get("timing", {}).get("precision", "fp32")
        return trained_in
    return devices.precision(replace(network.config, engine=settings.engine), device)
