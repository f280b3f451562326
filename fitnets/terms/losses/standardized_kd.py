"""Knowledge distillation on standardised logits (Sun et al., 2024, Logit Standardization)."""

from torch import Tensor

from fitnets.config.options import AT_LEAST_0, POSITIVE, bounded
from fitnets.terms.loss import LogitLoss, Weight, loss
from fitnets.terms.softened import divergence

_LEAST_DEVIATION = 1e-6
"""Logits of a smaller standard deviation are divided by this number: equal logits have none."""


def standardized(logits: Tensor) -> Tensor:
    """Shift and scale each image's logits to mean 0 and standard deviation 1, with the unbiased estimate of the latter.

    logits: (N, classes), with at least 2 classes."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    variance = centred.square().sum(dim=1, keepdim=True) / (logits.shape[1] - 1)
    return centred / variance.clamp_min(_LEAST_DEVIATION**2).sqrt()


@loss
class StandardizedKd(LogitLoss):
    """tau^2 KL(P_T^tau || P_S^tau) of standardised logits, summed over the classes. It does not change if the student's
    logits are shifted or multiplied by a positive number. The paper's weight and base temperature are 9 and 2."""

    weight: Weight = bounded(AT_LEAST_0, default=9.0)
    temperature: float = bounded(POSITIVE, default=2.0)

    def compare(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        divergences = divergence(standardized(student), standardized(teacher), self.temperature)
        return self.temperature**2 * divergences.mean()

    def describe(self) -> str:
        return f"teacher's standardised outputs, tau {self.temperature:g}"
