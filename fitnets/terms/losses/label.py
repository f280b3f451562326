"""H(y, P_S) of Eq. 2: cross-entropy with the labels."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from fitnets.models.layers import as_float32
from fitnets.terms.loss import BatchOutputs, Loss, Site, Term, loss


def label_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """H(y, P) of Eq. 2: cross-entropy with the labels, in nats.

    logits: (N, classes).
    labels: class indices, (N,).
    smoothing: share of each target that is spread evenly over all classes."""
    return F.cross_entropy(as_float32(logits), labels, label_smoothing=smoothing)


def batch_label_loss(logits: Tensor, outputs: BatchOutputs, smoothing: float = 0.0) -> Tensor:
    """`label_loss` for a batch. The target of a mixed image has its own class and its partner's, by their shares."""
    mixture = outputs.mixture
    if mixture is None:
        return label_loss(logits, outputs.labels, smoothing)
    own, partners = (
        F.cross_entropy(as_float32(logits), labels, label_smoothing=smoothing, reduction="none")
        for labels in (outputs.labels, mixture.labels)
    )
    return (mixture.share * own + (1 - mixture.share) * partners).mean()


@loss
class Label(Loss):
    """Cross-entropy with the labels, which `schedule.STAGE.label_smoothing` smooths."""

    reads_teacher: ClassVar[bool] = False
    smooths_labels: ClassVar[bool] = True
    position: ClassVar[int] = 0

    def build(self, site: Site) -> Term:
        return LabelTerm(self, site)


class LabelTerm(Term):
    """The term of `Label`."""

    def __init__(self, option: Label, site: Site):
        super().__init__(site.name, site.settings.epochs, option.weight)
        self.smoothing = site.settings.label_smoothing

    def loss(self, outputs: BatchOutputs) -> Tensor:
        assert outputs.logits is not None
        return batch_label_loss(outputs.logits, outputs, self.smoothing)

    def describe(self) -> str:
        smoothed = f", smoothed by {self.smoothing:g}" if self.smoothing else ""
        return f"cross-entropy with the labels{smoothed}"
