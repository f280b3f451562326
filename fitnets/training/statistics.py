"""Measures the statistics of batch normalisation again, for weights that no update has produced: averages."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fitnets.training.stages import Stage, train_mode

MEASURED_IMAGES = 10_000
"""number of training images from which statistics are measured, at most"""


def has_statistics(stage: Stage) -> bool:
    """Return whether the stage trains layers with running statistics."""
    return bool(_normalisations(stage))


@torch.no_grad()
def measure(stage: Stage, batches: Iterable[Tensor]) -> None:
    """Replace the running means and variances of all trained layers by their means over batches of images.

    The layers above the guided one are not computed in stage 1, and keep theirs.

    batches: images (N, C, H, W), preprocessed and augmented."""
    parts = _normalisations(stage)
    momenta = [part.momentum for part in parts]
    train_mode(stage)
    for part in parts:
        part.reset_running_stats()
        part.momentum = None  # the mean over all batches
    try:
        for images in batches:
            if stage.is_partial:
                stage.network.features(images, stage.student_layers)
            else:
                stage.network(images)
    finally:
        for part, momentum in zip(parts, momenta, strict=True):
            part.momentum = momentum


def _normalisations(stage: Stage) -> list[_BatchNorm]:
    layers = stage.network.trainable_parts(*stage.until).values()
    parts: list[nn.Module] = [part for layer in layers for part in layer.modules()]
    return [part for part in parts if isinstance(part, _BatchNorm) and part.running_mean is not None]
