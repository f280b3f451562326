"""The classes that a finished network gives to image files."""

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
    """name: of the class; label: its number; probability: softmax of the logits."""

    name: str
    label: int
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """guesses: the most probable classes, in order; reason: why the file cannot be used, without guesses."""

    file: Path
    guesses: list[Guess]
    reason: str | None = None


def predict(
    network: StoredNetwork, files: list[Path], top: int, settings: Config, progress: Progress
) -> Iterator[Prediction]:
    """The most probable classes of each file, in the order of the files, prepared as the network's data set prepares
    its images. Classes without a name are called 'class' and their number.

    top: classes for each image. Raises ConfigError where the network cannot be rebuilt."""
    dataset, device = network.config.dataset, devices.set_up_device(settings.engine)
    fitted = evaluation.fitted_values(network, settings.root, progress)
    names = class_names.of_network(network).names or [f"class {label}" for label in range(dataset.classes)]
    rebuilt = evaluation.rebuild(network, settings, device).eval()
    for start in range(0, len(files), _BATCH):
        found: list[np.ndarray] = []
        results = []
        for file in files[start : start + _BATCH]:
            try:
                found.append(image_files.pixels(dataset, file))
                results.append(Prediction(file, []))
            except BrokenImage as error:
                results.append(Prediction(file, [], str(error)))
        if found:
            scaled = torch.from_numpy(np.stack(found)).float() / 255
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
