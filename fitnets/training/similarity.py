"""Did the hint help? How alike the guided layer and the hint layer are, and what the student answers, at any moment."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from fitnets.data.splits import Split
from fitnets.models.network import Network
from fitnets.training import metrics

DIAGNOSED = 500
"""images that are compared at most"""


class Diagnosis:
    """Compares a student with its teacher, again and again, on the same images.

    teacher: None for teacher=none, which leaves the student's own quality
    pair: (hint layer, guided layer), or None; split: at most 500 of its images are taken, evenly spaced."""

    def __init__(self, teacher: Network | None, pair: tuple[str, str] | None, split: Split, batch_size: int):
        step = -(-len(split) // DIAGNOSED)
        self.split = replace(split, rows=split.rows[::step])
        self.batch_size = batch_size
        self.pair = pair
        self.teacher_logits: Tensor | None = None
        self.hint_gram: Tensor | None = None
        if teacher is not None:
            self.teacher_logits, _, self.hint_gram = self._answers(teacher, pair and pair[0])

    def of(self, student: Network) -> dict[str, float | None]:
        """`similarity` of guided and hint layer (`cka`; None where there is none), `agreement` with the teacher
        (None where there is none), `accuracy` and `calibration_error`, all but the first as fractions."""
        logits, labels, guided_gram = self._answers(student, self.pair and self.pair[1])
        quality = metrics.quality(logits, labels)
        similarity = None
        if guided_gram is not None and self.hint_gram is not None:
            found = cka(guided_gram, self.hint_gram)
            similarity = None if math.isnan(found) else found
        return {
            "similarity": similarity,
            "agreement": None if self.teacher_logits is None else metrics.agreement(logits, self.teacher_logits),
            "accuracy": quality["accuracy"],
            "calibration_error": quality["calibration_error"],
        }

    @torch.no_grad()
    def _answers(self, network: Network, layer: str | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """(logits, labels, Gram matrix of a layer's features)."""
        network.eval()
        logits, labels, features = [], [], []
        for batch in self.split.ordered(self.batch_size):
            answered, named = network(batch.images, [layer] if layer else [])
            logits.append(answered)
            labels.append(batch.labels)
            if layer in named:
                features.append(named[layer].flatten(1).float())
        return torch.cat(logits), torch.cat(labels), gram(features) if features else None


def gram(batches: list[Tensor]) -> Tensor:
    """Inner products of the images' features, their means taken off (in place). (n, D) each -> (N, N), float64 on the
    CPU."""
    mean = torch.stack([batch.sum(dim=0) for batch in batches]).sum(dim=0) / sum(map(len, batches))
    for batch in batches:
        batch -= mean
    return torch.cat([torch.cat([first @ second.T for second in batches], dim=1) for first in batches]).double().cpu()


def cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al., 2019) of two Gram matrices (N, N) of the same N >= 4 images,
    with the unbiased estimate of HSIC (Song et al., 2012, Eq. 5): about 0 for unrelated features however many there
    are, 1 for features that are equal up to rotation and scale. NaN where the features of one do not differ."""
    own = _hsic(first, first), _hsic(second, second)
    return float(_hsic(first, second) / (own[0] * own[1]).sqrt()) if min(own) > 0 else math.nan


def _hsic(first: Tensor, second: Tensor) -> Tensor:
    n = len(first)
    first, second = (gram - gram.diag().diag() for gram in (first, second))
    return (
        (first * second).sum()
        + first.sum() * second.sum() / ((n - 1) * (n - 2))
        - 2 * (first.sum(0) @ second.sum(0)) / (n - 2)
    ) / (n * (n - 3))
