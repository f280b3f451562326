"""How good a finished network is, on a split of its own data set or on other data."""

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
from fitnets.data.test_split import has_test_split
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
    """Accuracy, error and calibration error as fractions, loss in nats; accuracy and images of each class; the
    confusion matrix (rows: true classes, columns: predicted ones). Classes of the data become the network's by name.
    The images are preprocessed as those that the network was trained on.

    split: None for the test split of the network's own data set, and for all images of another one.
    settings: whose engine and store are used.

    Raises ConfigError where images and network do not fit, or there is no such split."""
    device = devices.set_up_device(settings.engine)
    directories.check_writable(settings.root)
    trained_on = network.config.dataset
    images = replace(dataset, preprocessing=trained_on.preprocessing)
    _check_size(trained_on, images)
    stays = _same_place(images, trained_on)
    if stays and not isinstance(images, Folder):
        is_same = True
    else:  # an explicit split of other data needs no look at the rest of them
        is_same = (stays or (split is None and _has_split(images))) and _has_images_of(
            network, images, settings.root, progress
        )
    names, new_labels, notes = _matched(network, images, is_same=is_same)
    if stays and isinstance(images, Folder) and not is_same:
        notes.append("images or split have changed since the run: it may have been trained on some of these")
    if split is None and (stays or is_same):
        split = "test"
    _check_split(images, split, stays=stays)
    fitted = fitted_values(network, settings.root, progress)
    if split is None:
        found = splits.load_all(images, settings.root, device, progress, fitted)
    else:
        found = splits.load_split(images, split, settings.root, device, progress, fitted_on=trained_on, fitted=fitted)
    logits, labels = metrics.predict(rebuild(network, settings, device), found, settings.engine.eval_batch_size)
    labels = torch.tensor(new_labels, device=labels.device)[labels]
    facts = {"network": str(network.weights), "dataset": dataset.name, "split": split or "all", "images": len(found)}
    return facts | metrics.quality(logits, labels) | {"classes": names, **by_class(logits, labels), "notes": notes}


def by_class(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """`class_images`, `class_accuracy` (None without images) and `confusion`, by label."""
    confusion = metrics.confusion_counts(logits, labels)
    images = [sum(row) for row in confusion]
    accuracy = [row[label] / images[label] if images[label] else None for label, row in enumerate(confusion)]
    return {"class_images": images, "class_accuracy": accuracy, "confusion": confusion}


# --- data and network ---


def _check_size(trained_on: Dataset, dataset: Dataset) -> None:
    for what in ("channels", "height", "width"):
        theirs, ours = getattr(trained_on, what), getattr(dataset, what)
        if theirs != ours:
            raise ConfigError(
                f"dataset={dataset.name}: {what} {ours}, and the network was trained with {theirs}: give images like "
                f"those of {trained_on.name}"
            )


def _matched(network: StoredNetwork, dataset: Dataset, *, is_same: bool) -> tuple[list[str], list[int], list[str]]:
    """(the network's classes, the network's label for each label of the data, notes). is_same: whether these are the
    images and labels that the network was trained on. Raises ConfigError for a class that it does not know."""
    known, found = class_names.of_network(network), class_names.of_data(dataset)
    count = network.config.dataset.classes
    names = class_names.numbered(known.names, count)
    notes = [note for note in (None if is_same else known.note, found.note) if note]
    if known.names is None or found.names is None:
        if dataset.classes > count:
            raise ConfigError(
                f"{class_names.described(dataset)}: {dataset.classes} classes without names, and the network has "
                f"{count}: give data with the classes of {network.config.dataset.name}"
            )
        if not is_same:
            whose = "the network's" if known.names is None else "the data's"
            notes.append(f"{whose} class names are unknown: labels are compared by their numbers")
        return names, list(range(dataset.classes)), notes
    try:
        labels = class_names.labels_in(known.names, found.names)
    except ValueError as error:
        raise ConfigError(
            f"{class_names.described(dataset)}: the network does not know the classes {error}: it was trained on "
            f"{class_names.listed(known.names)}: give data with these classes alone"
        ) from error
    if labels != sorted(labels):
        notes.append("the data have the classes in another order: they were matched by name")
    missing = [name for label, name in enumerate(known.names) if label not in set(labels)]
    if missing:
        told = f"{len(labels)} of the network's {count} classes, matched by name"
        notes.append(f"the data have {told}, without {class_names.listed(missing)}")
    return names, labels, notes


def _same_place(dataset: Dataset, trained_on: Dataset) -> bool:
    """Whether the images come from where the network's did; the split may be another one."""
    places = []
    for one in (dataset, trained_on):
        keys = [getattr(one, key, None) for key in ("hub", "subset", "label_column")]
        path = getattr(one, "path", None)
        places.append([type(one), one.name, *keys, path and expanded(path).resolve()])
    return places[0] == places[1]


def _has_split(dataset: Dataset) -> bool:
    """Whether a data set is split already, so that nothing is drawn and written when its splits are asked for."""
    return not isinstance(dataset, Folder) or folder.has_split(dataset)


def _has_images_of(network: StoredNetwork, dataset: Dataset, root: Path, progress: Progress) -> bool:
    """Whether the training and validation images are those that the network was trained on."""
    if type(dataset) is not type(network.config.dataset):
        return False
    try:
        return splits.digest(dataset, root, progress) == network.data_digest()
    except ConfigError:  # no training split there, or a split of other images
        return False


def _check_split(dataset: Dataset, split: SplitName | None, *, stays: bool) -> None:
    if split == "test" and not has_test_split(dataset):
        raise ConfigError(f"dataset={dataset.name} has no test split: give --split valid")
    if split is not None and not stays and not _has_split(dataset):
        raise ConfigError(
            f"--split {split}: dataset.path={getattr(dataset, 'path', None)} has no saved split: leave --split out to "
            "evaluate all of its images"
        )


def fitted_values(network: StoredNetwork, root: Path, progress: Progress) -> FittedPreprocessing:
    """What the network's preprocessing learnt: from its record, or from its training images where the record of an
    earlier version has none.

    Raises ConfigError where the images are needed and are not those that it was fitted on."""
    recorded = network.recorded().get("fitted")
    if recorded is not None:
        return preprocessing.recorded(recorded)
    trained_on = network.config.dataset
    is_fitted = preprocessing.is_fitted(trained_on.preprocessing)
    if is_fitted and splits.digest(trained_on, root, progress) != network.data_digest():
        raise ConfigError(
            f"the network's preprocessing was fitted on other images than those that dataset={trained_on.name} has "
            "now: give the images of that time, at the same place"
        )
    return splits.fitted_values(trained_on, root, progress)


@contextmanager
def working_store(network: StoredNetwork, given: str | None) -> Iterator[Path]:
    """The store for decoded images: the one that is given, else the network's own where it can be written, else a
    temporary folder. Nothing is ever written elsewhere."""
    if given is not None:
        yield expanded(given)
        return
    root = network.weights.resolve().parent.parent.parent
    if ownership.is_store(root) and _is_writable(root):
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="fitnets-") as scratch:
        yield Path(scratch)


def _is_writable(root: Path) -> bool:
    try:
        directories.check_writable(root)
    except ConfigError:
        return False
    return True


def latency(run: Path, settings: Config) -> dict[str, float]:
    """Of a run's student here and now, in milliseconds, as `engine.latencies` has it."""
    network = earlier_runs.find_network(str(run), "run")
    dataset, device = network.config.dataset, devices.set_up_device(settings.engine)
    rebuilt = rebuild(network, settings, device)
    image = torch.zeros(*image_shape(dataset), device=device)
    return machine_latency.latencies({"student": rebuilt}, image)["student"]


def rebuild(network: StoredNetwork, settings: Config, device: torch.device) -> Network:
    """The network with its trained weights, on the device."""
    rebuilt = build.network(network.net, network.config.dataset, "student")
    weights.read_weights(network.weights, rebuilt)
    return place(rebuilt, device, _precision(network, settings, device))


def _precision(network: StoredNetwork, settings: Config, device: torch.device) -> Precision:
    """The one asked for, else the one it was trained in, as far as that is known."""
    if settings.engine.precision == "auto" and network.of_run:
        trained_in: Precision = network.recorded().get("timing", {}).get("precision", "fp32")
        return trained_in
    return devices.precision(replace(network.config, engine=settings.engine), device)
