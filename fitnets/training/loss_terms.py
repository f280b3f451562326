"""The terms that a loss of the whole network is the weighted sum of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from fitnets.config import Distillation
from fitnets.models.layers import LOGITS, Regressor, SoftmaxLayer
from fitnets.training import losses, schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutputs:
    """Of one batch. logits: (N, classes); features: by layer; teacher: the answers that its terms want."""

    labels: Tensor
    logits: Tensor
    features: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]


class LossTerm(Protocol):
    """`wants`: of the teacher's answers (LOGITS, or a layer's name); `reads`: the student's layers whose features it
    compares; `heads`: what is trained beside the network and dropped afterwards, by layer name."""

    name: str

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def wants(self) -> str | None: ...

    @property
    def heads(self) -> dict[str, nn.Module]: ...

    def loss(self, outputs: BatchOutputs) -> Tensor:
        """The mean over the batch."""

    def weight(self, epoch: int) -> float | None:
        """Its factor, where it has one to report. epoch: from 0."""


@dataclass(slots=True)
class LabelTerm:
    """H(y, P_S)."""

    name: str = "label"
    wants: None = None
    reads: tuple[str, ...] = ()
    heads: dict[str, nn.Module] = field(default_factory=dict)

    def loss(self, outputs: BatchOutputs) -> Tensor:
        return losses.label_loss(outputs.logits, outputs.labels)

    def weight(self, epoch: int) -> float | None:
        return None


@dataclass(slots=True)
class KdTerm:
    """lambda H(P_T^tau, P_S^tau) of Eq. 2. epochs: of the stage, over which lambda is annealed."""

    kd: Distillation
    epochs: int
    name: str = "kd"
    wants: str = LOGITS
    reads: tuple[str, ...] = ()
    heads: dict[str, nn.Module] = field(default_factory=dict)

    def loss(self, outputs: BatchOutputs) -> Tensor:
        return losses.softened_loss(
            outputs.logits, outputs.teacher[LOGITS], self.kd.temperature, soften_student=self.kd.soften_student
        )

    def weight(self, epoch: int) -> float | None:
        return schedules.kd_weight(self.kd, epoch, self.epochs)


@dataclass(slots=True)
class MimicTerm:
    """The teacher's logits, by regression."""

    name: str = "mimic"
    wants: str = LOGITS
    reads: tuple[str, ...] = ()
    heads: dict[str, nn.Module] = field(default_factory=dict)

    def loss(self, outputs: BatchOutputs) -> Tensor:
        return losses.mimic_loss(outputs.logits, outputs.teacher[LOGITS])

    def weight(self, epoch: int) -> float | None:
        return None


@dataclass(slots=True)
class HintTerm:
    """The teacher's hint at the guided layer, together with the rest."""

    regressor: Regressor
    hint_layer: str
    guided_layer: str
    factor: float
    reduction: losses.Reduction
    name: str = "hint"

    @property
    def wants(self) -> str:
        return self.hint_layer

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.guided_layer,)

    @property
    def heads(self) -> dict[str, nn.Module]:
        return {"regressor": self.regressor}

    def loss(self, outputs: BatchOutputs) -> Tensor:
        regressed = self.regressor(outputs.features[self.guided_layer])
        return losses.hint_loss(regressed, outputs.teacher[self.hint_layer], self.reduction)

    def weight(self, epoch: int) -> float | None:
        return self.factor


@dataclass(slots=True)
class LabelHintTerm:
    """The labels at hidden layers, each through a softmax layer of its own; the losses are summed."""

    classifiers: dict[str, SoftmaxLayer]
    factor: float
    name: str = "label_hint"
    wants: None = None

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(self.classifiers)

    @property
    def heads(self) -> dict[str, nn.Module]:
        return {f"classifier_{layer}": classifier for layer, classifier in self.classifiers.items()}

    def loss(self, outputs: BatchOutputs) -> Tensor:
        hidden = [
            losses.label_loss(classifier(outputs.features[layer]), outputs.labels)
            for layer, classifier in self.classifiers.items()
        ]
        return sum(hidden[1:], hidden[0])

    def weight(self, epoch: int) -> float | None:
        return self.factor
