"""Regression on the teacher's logits (Ba and Caruana, 2014)."""

from typing import ClassVar

from torch import Tensor

from fitnets.terms.loss import LogitLoss, loss


def mimic_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Regression on the teacher's logits (Ba and Caruana, 2014): half the squared distance, summed over classes.

    student, teacher: logits, (N, classes)."""
    return 0.5 * (student - teacher).square().sum(dim=1).mean()


@loss
class Mimic(LogitLoss):
    """Half the squared distance of the logits. The logits of an ensemble are the mean of its members' logits."""

    position: ClassVar[int] = 0

    def compare(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return mimic_loss(student, teacher)

    def describe(self) -> str:
        return "regression of the teacher's logits"
