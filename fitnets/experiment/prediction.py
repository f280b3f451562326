"""Predicts the classes of image files with a finished network."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fitnets.config import Config
from fitnets.data import class_names, image_files, preprocessing
from fitnets.data.reading.encoded_image import BrokenImage
from fitnets.experiment import evaluation
from fitnets.machine import devices
from fitnets.progress import Progress
from fitnets.store.earlier_runs import StoredNetwork

_BATCH = 100


@dataclass(frozen=True, slots=True)
class Guess:
    """One class for one image.

    name: the name of the class
    label: its number, the index of its logit
    probability: softmax of the logits"""

    name: str
    label: int
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result for one file.

    guesses: the most probable classes, the best first; empty for a file that cannot be decoded
    reason: why the file cannot be decoded; None if it can"""

    file: Path
    guesses: list[Guess]
    reason: str | None = None


def predict(
    network: StoredNetwork, files: list[Path], top: int, settings: Config, progress: Progress
) -> Iterator[Prediction]:
    """Predict the most probable classes of each file, in the order of the files. Images are prepared like those of the
    network's data set. Classes without a name are called "class" and their number.

    top: number of classes for each image
    settings: the configuration whose engine and store are used

    Raises ConfigError if the network cannot be rebuilt."""
    dataset, device = network.config.dataset, devices.set_up_device(settings.engine)
    fitted = evaluation.fitted_values(network, settings.root, progress)
    names = class_names.of_network(network).names or [f"class {label}" for label in range(dataset.classes)]
    rebuilt = evaluation.rebuild(network, settings, device).eval()
    for start in range(0, len(files), _BATCH):
        pixels: list[np.ndarray] = []
        results = []
        for file in files[start : start + _BATCH]:
            try:
                pixels.append(image_files.pixels(dataset, file))
                results.append(Prediction(file, []))
            except BrokenImage as error:
                results.append(Prediction(file, [], str(error)))
        if pixels:
            scaled = torch.from_numpy(np.stack(pixels)).float() / 255
            images = preprocessing.apply(dataset.preprocessing, fitted, scaled).to(device)
            with torch.no_grad():
                best = rebuilt(images)[0].float().softmax(1).topk(min(top, dataset.classes))
            rows = iter(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        for result in results:
            if result.reason is None:
                labels, probabilities = next(rows)
                guesses = [Guess(names[label], label, p) for label, p in zip(labels, probabilities, strict=True)]
                yield replace(result, guesses=guesses)
            else:
                yield result
