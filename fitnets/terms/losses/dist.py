"""DIST (Huang et al., 2022, "Knowledge Distillation from A Stronger Teacher")."""

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from fitnets.config import Config
from fitnets.config.options import AT_LEAST_0, POSITIVE, bounded
from fitnets.terms.geometry import centred, unit
from fitnets.terms.loss import LogitLoss, loss


def uncorrelated(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over the rows of 1 - Pearson's correlation of the row's values.

    A row in which all values of the teacher are equal has no correlation and counts 0.

    student, teacher: (rows, values)."""
    (student, _), (teacher, is_constant) = centred(student), centred(teacher)
    correlation = (unit(student) * unit(teacher)).sum(dim=1)
    return (1 - correlation).masked_fill(is_constant, 0.0).mean()


@loss
class Dist(LogitLoss):
    """tau^2 (beta inter + gamma intra). `inter` is 1 - Pearson's correlation of student's and teacher's probabilities
    over the classes of an image, `intra` that over the images of the batch for a class, so it depends on the batch's
    composition and is 0 for a single image. The paper has beta = gamma = 1 and tau 1; its code has 2, 2 and 4 on
    CIFAR-100, as `method=dist` has."""

    compares_images: ClassVar[bool] = True

    beta: float = bounded(AT_LEAST_0, default=1.0)
    """factor on the relation between classes"""
    gamma: float = bounded(AT_LEAST_0, default=1.0)
    """factor on the relation between images"""
    temperature: float = bounded(POSITIVE, default=1.0)

    def problems(self, key: str, config: Config) -> Iterator[str]:
        if self.beta == 0 and self.gamma == 0:
            yield f"{key}.beta=0 and {key}.gamma=0 leave nothing to learn: give another number for one of them"

    def compare(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        student, teacher = (F.softmax(logits / self.temperature, dim=1) for logits in (student, teacher))
        inter, intra = uncorrelated(student, teacher), uncorrelated(student.T, teacher.T)
        return self.temperature**2 * (self.beta * inter + self.gamma * intra)

    def describe(self) -> str:
        return (
            f"correlation with the teacher's outputs, tau {self.temperature:g}, beta {self.beta:g}, "
            f"gamma {self.gamma:g}"
        )
