"""How good a finished network is, on a split of its own data set or on other data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fitnets import build, data, engine, metrics, preprocessing, store, stored
from fitnets.config import Config, Dataset, Precision, image_shape
from fitnets.data import SplitName
from fitnets.labelled import Watcher
from fitnets.networks import Network, placed
from fitnets.options import ConfigError
from fitnets.rules import has_test_split
from fitnets.stored import Stored


def evaluate(network: Stored, dataset: Dataset, split: SplitName, settings: Config, watcher: Watcher) -> dict[str, Any]:
    """Accuracy, error and calibration error as fractions, loss in nats. The images are preprocessed as those that the
    network was trained on. settings: whose engine and store are used.

    Raises ConfigError where images and network do not fit, or there is no such split."""
    _check_fits(network.config.dataset, dataset, split)
    device = engine.device(settings.engine)
    store.check_writable(settings.root)
    rebuilt = _rebuilt(network, settings, device)
    trained_on = network.config.dataset
    check_fitted(network, settings.root, watcher)
    images = data.load_split(dataset, split, settings.root, device, watcher, fitted_on=trained_on)
    logits, labels = metrics.predict(rebuilt, images, settings.engine.eval_batch_size)
    facts = {"network": str(network.weights), "dataset": dataset.name, "split": split, "images": len(images)}
    return facts | metrics.quality(logits, labels)


def check_fitted(network: Stored, root: Path, watcher: Watcher) -> None:
    """Raises ConfigError where the images are not those that the network's preprocessing was fitted on."""
    trained_on = network.config.dataset
    is_fitted = preprocessing.is_fitted(trained_on.preprocessing)
    if is_fitted and data.digest(trained_on, root, watcher) != network.data_digest():
        raise ConfigError(
            f"the network's preprocessing was fitted on other images than those that dataset={trained_on.name} has "
            "now: give the images of that time, at the same place"
        )


def latency(run: Path, settings: Config) -> dict[str, float]:
    """Of a run's student here and now, in milliseconds, as `engine.latencies` has it."""
    network = stored.find(str(run), "run")
    dataset, device = network.config.dataset, engine.device(settings.engine)
    rebuilt = _rebuilt(network, settings, device)
    image = torch.zeros(*image_shape(dataset), device=device)
    return engine.latencies({"student": rebuilt}, image)["student"]


def _rebuilt(network: Stored, settings: Config, device: torch.device) -> Network:
    """On the device."""
    rebuilt = build.network(network.net, network.config.dataset, "student")
    store.read_weights(network.weights, rebuilt)
    return placed(rebuilt, device, _precision(network, settings, device))


def _precision(network: Stored, settings: Config, device: torch.device) -> Precision:
    """The one asked for, else the one it was trained in, as far as that is known."""
    result = network.weights.with_name("result.json")
    if settings.engine.precision == "auto" and result.exists():
        trained_in: Precision = store.read_json(result).get("timing", {}).get("precision", "fp32")
        return trained_in
    return engine.precision(replace(network.config, engine=settings.engine), device)


def _check_fits(trained_on: Dataset, dataset: Dataset, split: SplitName) -> None:
    for what in ("channels", "height", "width", "classes"):
        theirs, ours = getattr(trained_on, what), getattr(dataset, what)
        if theirs != ours:
            raise ConfigError(
                f"dataset={dataset.name}: {what} {ours}, and the network was trained with {theirs}: give images like "
                f"those of {trained_on.name}"
            )
    if split == "test" and not has_test_split(dataset):
        raise ConfigError(f"dataset={dataset.name} has no test split: give --split valid")
