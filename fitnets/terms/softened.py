"""Softened outputs and their divergence, for losses on logits."""

import torch.nn.functional as F
from torch import Tensor


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(P_T^tau || P_S^tau) in nats, summed over the classes, for each image, (N,).

    student, teacher: logits, (N, classes)."""
    student_log, teacher_log = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return (teacher_log.exp() * (teacher_log - student_log)).sum(dim=1)
