"""Decoupled knowledge distillation (Zhao et al., 2022)."""

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.config import Config
from fitnets.config.options import AT_LEAST_0, POSITIVE, bounded
from fitnets.terms.loss import LogitLoss, loss


def parts(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return (TCKD, NCKD) for each image, (N,) each, without the factor tau^2.

    TCKD is KL(teacher || student) of the two probabilities "the label" and "another class", NCKD that of the
    distributions among the other classes. KD is TCKD + (1 - the teacher's probability of the label)
    NCKD. With two classes NCKD is 0, because there is only one other class.

    student, teacher: logits, (N, classes).
    labels: class indices, (N,)."""
    student, teacher = student / temperature, teacher / temperature
    target_log, target_log_t = (_log_target(logits, labels) for logits in (student, teacher))
    target = (target_log_t.exp() * (target_log_t - target_log)).sum(dim=1)
    others, others_t = (F.log_softmax(_others(logits, labels), dim=1) for logits in (student, teacher))
    return target, (others_t.exp() * (others_t - others)).sum(dim=1)


def _log_target(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities of the label and of all other classes together, (N, 2)."""
    label = logits.gather(1, labels.unsqueeze(1))
    both = torch.cat([label, _others(logits, labels).logsumexp(dim=1, keepdim=True)], dim=1)
    return F.log_softmax(both, dim=1)


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of all classes but the label, (N, classes - 1)."""
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, others + (others >= labels.unsqueeze(1)))


@loss
class Dkd(LogitLoss):
    """tau^2 (alpha TCKD + beta NCKD), the mean over the images. The paper has alpha 1, beta 8 and tau 4 for most pairs
    on CIFAR-100, and lets the weight grow linearly over the first 20 epochs, as `method=dkd` does."""

    needs_one_class: ClassVar[bool] = True

    alpha: float = bounded(AT_LEAST_0, default=1.0)
    """factor on the part of the label against all other classes"""
    beta: float = bounded(AT_LEAST_0, default=8.0)
    """factor on the part among the other classes"""
    temperature: float = bounded(POSITIVE, default=4.0)

    def compare(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        target, others = parts(student, teacher, labels, self.temperature)
        return self.temperature**2 * (self.alpha * target + self.beta * others).mean()

    def describe(self) -> str:
        return f"decoupled softened outputs, tau {self.temperature:g}, alpha {self.alpha:g}, beta {self.beta:g}"

    def problems(self, key: str, config: Config) -> Iterator[str]:
        if self.alpha == 0 and (self.beta == 0 or config.dataset.classes == 2):
            yield f"{key}.alpha=0 leaves nothing to learn: give another number"
