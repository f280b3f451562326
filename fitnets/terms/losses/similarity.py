"""Similarity-preserving distillation (Tung and Mori, 2019)."""

from torch import Tensor

from fitnets.config.options import AT_LEAST_0, bounded
from fitnets.terms.geometry import unit
from fitnets.terms.loss import RelationLoss, Weight, loss


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared difference of the two N x N matrices of inner products of the flattened features, whose rows
    are scaled to L2 norm 1, divided by N^2.

    student, teacher: features of any shapes, (N, ...)."""
    similarities = [unit(features.flatten(1) @ features.flatten(1).T) for features in (student, teacher)]
    return (similarities[0] - similarities[1]).square().mean()


@loss
class Similarity(RelationLoss):
    """Similarities between the images of a batch. The loss depends on the batch's composition, and is 0 for a single
    image. The paper's weight is 3000, at the last hidden layer."""

    weight: Weight = bounded(AT_LEAST_0, default=3000.0)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return similarity_loss(student, teacher)

    def describe(self) -> str:
        return "similarities between images"
