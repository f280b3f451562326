"""lambda H(P_T^tau, P_S^tau) of Eq. 2: cross-entropy with the teacher's softened outputs."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from fitnets.config import Config, Distillation, Ramp
from fitnets.models.layers import LOGITS
from fitnets.terms.loss import BatchOutputs, Loss, Site, Term, loss


def softened_loss(student: Tensor, teacher: Tensor, temperature: float, *, soften_student: bool = True) -> Tensor:
    """H(P_T^tau, P_S^tau) of Eq. 2, in nats: the cross-entropy of the softened outputs, summed over classes.

    The loss has no factor tau^2.

    student, teacher: logits, (N, classes).
    temperature: tau.
    soften_student: False keeps the student's outputs at temperature 1, as the released code does in effect."""
    targets = F.softmax(teacher / temperature, dim=1)
    return F.cross_entropy(student / temperature if soften_student else student, targets)


def kd_weight(kd: Distillation, epoch: int, epochs: int) -> float:
    """Return lambda of Eq. 2: `weight` up to `start_epoch`, then linear, then `weight_end` from `end_epoch` on.

    epoch: counted from 0.
    epochs: length of the stage; lambda reaches its end in the last epoch if `end_epoch` is None.

    The released code's TeacherDecayOverEpoch(start, saturate, final) counts monitorings, and monitors once before the
    first epoch. Its numbers translate to start_epoch = start - 2 and end_epoch = saturate - 1."""
    ramp = Ramp(start=kd.weight, end=kd.weight_end, start_epoch=kd.start_epoch, end_epoch=kd.end_epoch)
    return ramp.at(epoch, epochs)


@loss
class Kd(Loss):
    """Knowledge distillation (Hinton et al., 2015; Eq. 2) with the temperature and the lambda of `schedule.kd`.
    `weight` multiplies lambda."""

    has_eq_2: ClassVar[bool] = True
    position: ClassVar[int] = 1

    def build(self, site: Site) -> Term:
        return KdTerm(self, site)

    def determined_by(self, config: Config) -> list[Any]:
        return [config.schedule.kd]


class KdTerm(Term):
    """The term of `Kd`."""

    teacher_layers = (LOGITS,)

    def __init__(self, option: Kd, site: Site):
        super().__init__(site.name, site.settings.epochs, option.weight)
        self.kd = site.config.schedule.kd

    def loss(self, outputs: BatchOutputs) -> Tensor:
        assert outputs.logits is not None
        soften = self.kd.soften_student
        return softened_loss(outputs.logits, outputs.teacher[LOGITS], self.kd.temperature, soften_student=soften)

    def weight(self, epoch: int) -> float:
        return super().weight(epoch) * kd_weight(self.kd, epoch, self.epochs)

    @property
    def weight_is_shown(self) -> bool:
        return True

    def describe(self) -> str:
        last = kd_weight(self.kd, self.epochs - 1, self.epochs)
        return f"teacher's softened outputs, tau {self.kd.temperature:g}, lambda {self.kd.weight:g} to {last:.3g}"
