"""Relational knowledge distillation (Park et al., 2019)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.config import Config
from fitnets.config.options import AT_LEAST_0, bounded
from fitnets.terms.geometry import differences, norms, pooled
from fitnets.terms.loss import RelationLoss, loss


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the Huber loss between the pairwise distances, each divided by the mean of the distances above 0; the mean
    over all N^2 pairs.

    student, teacher: vectors, (N, D) each with its own D."""
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def _relative_distances(vectors: Tensor) -> Tensor:
    distances = norms(differences(vectors))
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1.0)


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the Huber loss between the cosines of the angles of all triples of vectors; the mean over all N^3 triples.

    student, teacher: vectors, (N, D) each with its own D."""
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher))


def _cosines(vectors: Tensor) -> Tensor:
    sides = differences(vectors)
    lengths = norms(sides).unsqueeze(2)
    directions = sides / torch.where(lengths > 0, lengths, 1.0)
    return torch.bmm(directions, directions.transpose(1, 2))


@loss
class Relational(RelationLoss):
    """Distances and angles between the images of a batch, on features that are averaged over their positions. The loss
    depends on the batch's composition, and is 0 for a single image. Angles take time that grows with the cube of the
    batch size. The factors are the paper's for classification."""

    distance: float = bounded(AT_LEAST_0, default=25.0)
    """factor on the loss of the distances"""
    angle: float = bounded(AT_LEAST_0, default=50.0)
    """factor on the loss of the angles"""

    def problems(self, key: str, config: Config) -> Iterator[str]:
        if self.distance == 0 and self.angle == 0:
            yield f"{key}.distance=0 and {key}.angle=0 leave nothing to learn: give another number for one of them"

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = pooled(student), pooled(teacher)
        parts = [
            factor * part(student, teacher)
            for factor, part in ((self.distance, distance_loss), (self.angle, angle_loss))
            if factor
        ]
        return sum(parts[1:], parts[0])

    def describe(self) -> str:
        return f"distances ({self.distance:g}) and angles ({self.angle:g}) between images"
