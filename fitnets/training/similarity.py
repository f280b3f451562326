"""Similarity of student and teacher at any moment of a run, to see whether the hint helped.

The guided layer is compared with the hint layer (CKA), the student's outputs with the teacher's and the labels.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from fitnets.data.splits import Split
from fitnets.models.network import Network
from fitnets.training import metrics

DIAGNOSED = 500
"""largest number of images that are compared"""


class Diagnosis:
    """Compares a student with its teacher, always on the same images.

    teacher: None for teacher=none; then only the student's accuracy and calibration error are measured.
    pair: (hint layer, guided layer); None without a pair.
    split: at most DIAGNOSED of its images are used, evenly spaced."""

    def __init__(self, teacher: Network | None, pair: tuple[str, str] | None, split: Split, batch_size: int):
        step = -(-len(split) // DIAGNOSED)
        self.split = replace(split, rows=split.rows[::step])
        self.batch_size = batch_size
        self.pair = pair
        self.teacher_logits: Tensor | None = None
        self.hint_gram: Tensor | None = None
        if teacher is not None:
            self.teacher_logits, _, self.hint_gram = self._outputs(teacher, pair and pair[0])

    def of(self, student: Network) -> dict[str, float | None]:
        """Measure the student as it is now.

        similarity: CKA of the guided layer and the hint layer; None without a pair or if it is undefined.
        agreement: fraction of images with the teacher's class; None without a teacher.
        accuracy, calibration_error: fractions."""
        logits, labels, guided_gram = self._outputs(student, self.pair and self.pair[1])
        quality = metrics.quality(logits, labels)
        similarity = None
        if guided_gram is not None and self.hint_gram is not None:
            alignment = cka(guided_gram, self.hint_gram)
            similarity = None if math.isnan(alignment) else alignment
        return {
            "similarity": similarity,
            "agreement": None if self.teacher_logits is None else metrics.agreement(logits, self.teacher_logits),
            "accuracy": quality["accuracy"],
            "calibration_error": quality["calibration_error"],
        }

    @torch.no_grad()
    def _outputs(self, network: Network, layer: str | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """(logits, labels, Gram matrix of a layer's features)."""
        network.eval()
        logits, labels, features = [], [], []
        for batch in self.split.ordered(self.batch_size):
            batch_logits, batch_features = network(batch.images, [layer] if layer else [])
            logits.append(batch_logits)
            labels.append(batch.labels)
            if layer in batch_features:
                features.append(batch_features[layer].flatten(1).float())
        return torch.cat(logits), torch.cat(labels), gram(features) if features else None


def gram(batches: list[Tensor]) -> Tensor:
    """Inner products of the images' centred features: batches of (n, D) -> (N, N), float64 on the CPU.

    The means are subtracted from the batches in place."""
    mean = torch.stack([batch.sum(dim=0) for batch in batches]).sum(dim=0) / sum(map(len, batches))
    for batch in batches:
        batch -= mean
    return torch.cat([torch.cat([first @ second.T for second in batches], dim=1) for first in batches]).double().cpu()


def cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al., 2019), with the unbiased estimate of HSIC.

    It is 1 for features that are equal up to rotation and scale, and about 0 for unrelated features, however many there
    are. It is NaN if all images have the same features in one of the two matrices.

    first, second: Gram matrices, (N, N), of the same N >= 4 images."""
    first_self, second_self = _hsic(first, first), _hsic(second, second)
    if min(first_self, second_self) <= 0:
        return math.nan
    return float(_hsic(first, second) / (first_self * second_self).sqrt())


def _hsic(first: Tensor, second: Tensor) -> Tensor:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al., 2012, Eq. 5)."""
    n = len(first)
    first, second = (gram - gram.diag().diag() for gram in (first, second))
    return (
        (first * second).sum()
        + first.sum() * second.sum() / ((n - 1) * (n - 2))
        - 2 * (first.sum(0) @ second.sum(0)) / (n - 2)
    ) / (n * (n - 3))
