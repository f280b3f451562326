"""Probabilistic knowledge transfer (Passalis and Tefas, 2018)."""

from torch import Tensor

from fitnets.config.options import AT_LEAST_0, bounded
from fitnets.terms.geometry import pooled, unit
from fitnets.terms.loss import RelationLoss, Weight, loss

_EPSILON = 1e-7
"""what the authors' code adds to probabilities"""


def neighbours(vectors: Tensor) -> Tensor:
    """Return the probability that an image chooses another as its neighbour, (N, D) -> (N, N): cosine similarities
    scaled to [0, 1], divided by the sum of their row."""
    directions = unit(vectors)
    similarities = (directions @ directions.T + 1) / 2
    return similarities / similarities.sum(dim=1, keepdim=True)


def probabilistic_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over all N^2 pairs of p_T log(p_T / p_S), as in the authors' code.

    student, teacher: vectors, (N, D) each with its own D."""
    p_student, p_teacher = neighbours(student), neighbours(teacher)
    return (p_teacher * ((p_teacher + _EPSILON) / (p_student + _EPSILON)).log()).mean()


@loss
class Probabilistic(RelationLoss):
    """Similarities between the images of a batch as probabilities, on features that are averaged over their positions.
    The loss depends on the batch's composition, and is 0 for a single image. The usual weight is 30000."""

    weight: Weight = bounded(AT_LEAST_0, default=30000.0)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return probabilistic_loss(pooled(student), pooled(teacher))

    def describe(self) -> str:
        return "probabilities of neighbours"
