"""Measures of logits: error, cross-entropy, calibration error, agreement with the teacher, and confusion counts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.data.splits import Split
from fitnets.models.network import Network
from fitnets.parallel.group import ALONE, Group


@torch.no_grad()
def predict(network: Network, split: Split, batch_size: int, group: Group = ALONE) -> tuple[Tensor, Tensor]:
    """Return logits (N, classes) and labels (N,) of a split. Leaves the network in evaluation mode.

    group: the processes to which the batches are dealt out."""
    network.eval()
    batches = torch.split(split.rows, batch_size)
    logits = group.dealt(batches, lambda rows: network(split.batch(rows).images)[0])
    return torch.cat(logits).to(split.rows.device), split.labels[split.rows]


def quality(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy, error and calibration error as fractions, and the loss in nats.

    logits: (N, classes).
    labels: (N,)."""
    wrong_fraction = error(logits, labels)
    return {
        "accuracy": 1 - wrong_fraction,
        "error": wrong_fraction,
        "loss": cross_entropy(logits, labels),
        "calibration_error": calibration_error(logits, labels),
    }


def error(logits: Tensor, labels: Tensor) -> float:
    """Fraction of misclassified images."""
    return int((logits.argmax(1) != labels).sum()) / len(labels)


MOST_CLASSES = 100
"""Most classes for a stored confusion matrix. A larger matrix would outgrow everything else in a run's folder."""


def confusion(logits: Tensor, labels: Tensor) -> list[list[int]] | None:
    """Return `confusion_counts` if the matrix is small enough to be stored; None above MOST_CLASSES classes."""
    return None if logits.shape[1] > MOST_CLASSES else confusion_counts(logits, labels)


def confusion_counts(logits: Tensor, labels: Tensor) -> list[list[int]]:
    """Return counts of images, with a row for each true class and a column for each predicted class.

    logits: (N, classes).
    labels: (N,)."""
    classes = logits.shape[1]
    cells = labels.long() * classes + logits.argmax(1)
    counts: list[list[int]] = torch.bincount(cells.cpu(), minlength=classes**2).view(classes, classes).tolist()
    return counts


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(F.cross_entropy(logits, labels))


def agreement(logits: Tensor, teacher_logits: Tensor) -> float:
    """Fraction of images for which student and teacher predict the same class."""
    return int((logits.argmax(1) == teacher_logits.argmax(1)).sum()) / len(logits)


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017), a fraction: |accuracy - confidence| averaged over the images.

    bins: number of equally wide bins of confidence, in which accuracy and confidence are averaged."""
    confidence, predicted = logits.softmax(1).max(1)
    correct = (predicted == labels).double()
    index = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, index, correct - confidence.double())
    return float(gap.abs().sum()) / len(labels)
