"""The outputs of a teacher for a batch, for stages to learn from. `teacher_cache` reads them from tables instead."""

from collections.abc import Collection
from typing import Protocol

import torch
from torch import Tensor

from fitnets.data.splits import Batch
from fitnets.models.layers import LOGITS
from fitnets.models.network import Network


class TeacherOutputs(Protocol):
    """Computes or reads the teacher's outputs for a batch."""

    def __call__(self, batch: Batch, layers: Collection[str]) -> dict[str, Tensor]:
        """Return outputs by layer, without gradients.

        layers: one or more; LOGITS gives logits (N, classes), a hidden layer its features."""


class LiveTeacher:
    """Runs the teacher on every batch, up to the last layer that is needed."""

    def __init__(self, teacher: Network):
        self.teacher = teacher

    @torch.no_grad()
    def __call__(self, batch: Batch, layers: Collection[str]) -> dict[str, Tensor]:
        assert not self.teacher.training, "the teacher must be in evaluation mode"
        if LOGITS not in layers:
            return self.teacher.features(batch.images, layers)
        logits, features = self.teacher(batch.images, [name for name in layers if name != LOGITS])
        return {name: logits if name == LOGITS else features[name] for name in layers}


class FixedOutputs:
    """The same outputs for every batch, to time a step without the teacher."""

    def __init__(self, outputs: dict[str, Tensor]):
        self.outputs = outputs

    def __call__(self, batch: Batch, layers: Collection[str]) -> dict[str, Tensor]:
        return self.outputs
