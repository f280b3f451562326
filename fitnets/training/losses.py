"""The paper's losses as pure functions. Each returns a scalar, the mean over the images of a batch."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from fitnets.models.layers import as_float32

Reduction = Literal["sum", "released", "released_relu", "mean"]


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """H(y, P) of Eq. 2: cross-entropy with the labels, in nats.

    logits: (N, classes).
    labels: class indices, (N,)."""
    return F.cross_entropy(as_float32(logits), labels)


def softened_loss(student: Tensor, teacher: Tensor, temperature: float, *, soften_student: bool = True) -> Tensor:
    """H(P_T^tau, P_S^tau) of Eq. 2, in nats: the cross-entropy of the softened outputs, summed over classes.

    The loss has no factor tau^2.

    student, teacher: logits, (N, classes).
    temperature: tau.
    soften_student: False keeps the student's outputs at temperature 1, as the released code does in effect."""
    targets = F.softmax(teacher / temperature, dim=1)
    return F.cross_entropy(student / temperature if soften_student else student, targets)


def hint_loss(regressed: Tensor, hint: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Eq. 3: half the squared distance between the regressor's output and the hint.

    regressed, hint: (N, C, H, W) or (N, units), of the same shape. Raises ValueError if the shapes differ.
    reduction: "sum" is Eq. 3, summed over channels and positions. "released" and "released_relu" are the released
    code's value: H/2 times the mean square for maxout hints, C/2 times for other hints (H: height of the map, C: its
    channels). "mean" is the mean square of later literature."""
    if regressed.shape != hint.shape:
        raise ValueError(f"the regressor gives {tuple(regressed.shape[1:])} and the hint is {tuple(hint.shape[1:])}")
    square = (as_float32(regressed) - as_float32(hint)).square()
    if reduction == "sum":
        return 0.5 * square.flatten(1).sum(dim=1).mean()
    if reduction == "mean":
        return square.mean()
    summed_axis = 1 if reduction == "released_relu" else 2  # the released code averages over the other axes
    summed = hint.shape[summed_axis] if hint.ndim == 4 else 1
    return 0.5 * summed * square.mean()


def mimic_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Regression on the teacher's logits (Ba and Caruana, 2014): half the squared distance, summed over classes.

    student, teacher: logits, (N, classes)."""
    return 0.5 * (student - teacher).square().sum(dim=1).mean()
