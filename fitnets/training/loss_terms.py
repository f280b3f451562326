"""Terms of a loss: the loss of a whole network is their weighted sum."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from fitnets.config import Distillation
from fitnets.models.layers import LOGITS, Regressor, SoftmaxLayer
from fitnets.training import losses, schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutputs:
    """Everything that loss terms compare for one batch.

    labels: class indices, (N,).
    logits: the student's logits, (N, classes).
    features: the student's features, by layer.
    teacher: the teacher's outputs by layer; the key LOGITS holds its logits."""

    labels: Tensor
    logits: Tensor
    features: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]


class LossTerm(Protocol):
    """One summand of a loss.

    student_layers: the student's hidden layers whose features the term needs.
    teacher_layer: the teacher's layer whose output the term needs, LOGITS for the logits; None without a teacher.
    heads: modules that are trained beside the network and dropped after training, by layer name."""

    name: str

    @property
    def student_layers(self) -> tuple[str, ...]: ...

    @property
    def teacher_layer(self) -> str | None: ...

    @property
    def heads(self) -> dict[str, nn.Module]: ...

    def loss(self, outputs: BatchOutputs) -> Tensor:
        """Return the unweighted loss as a scalar, the mean over the batch."""

    def weight(self, epoch: int) -> float | None:
        """The term's factor in this epoch (counted from 0); None means 1, and no weight is logged."""


@dataclass(slots=True)
class LabelTerm:
    """H(y, P_S) of Eq. 2: cross-entropy with the labels."""

    name: str = "label"
    teacher_layer: None = None
    student_layers: tuple[str, ...] = ()
    heads: dict[str, nn.Module] = field(default_factory=dict)

    def loss(self, outputs: BatchOutputs) -> Tensor:
        return losses.label_loss(outputs.logits, outputs.labels)

    def weight(self, epoch: int) -> float | None:
        return None


@dataclass(slots=True)
class KdTerm:
    """lambda H(P_T^tau, P_S^tau) of Eq. 2: cross-entropy with the teacher's softened output.

    epochs: length of the stage, over which lambda is annealed."""

    kd: Distillation
    epochs: int
    name: str = "kd"
    teacher_layer: str = LOGITS
    student_layers: tuple[str, ...] = ()
    heads: dict[str, nn.Module] = field(default_factory=dict)

    def loss(self, outputs: BatchOutputs) -> Tensor:
        return losses.softened_loss(
            outputs.logits, outputs.teacher[LOGITS], self.kd.temperature, soften_student=self.kd.soften_student
        )

    def weight(self, epoch: int) -> float | None:
        return schedules.kd_weight(self.kd, epoch, self.epochs)


@dataclass(slots=True)
class MimicTerm:
    """Regression on the teacher's logits (Ba and Caruana, 2014)."""

    name: str = "mimic"
    teacher_layer: str = LOGITS
    student_layers: tuple[str, ...] = ()
    heads: dict[str, nn.Module] = field(default_factory=dict)

    def loss(self, outputs: BatchOutputs) -> Tensor:
        return losses.mimic_loss(outputs.logits, outputs.teacher[LOGITS])

    def weight(self, epoch: int) -> float | None:
        return None


@dataclass(slots=True)
class HintTerm:
    """The hint loss of Eq. 3 as a term beside the others, for methods that train all layers at once.

    factor: the term's weight in the loss."""

    regressor: Regressor
    hint_layer: str
    guided_layer: str
    factor: float
    reduction: losses.Reduction
    name: str = "hint"

    @property
    def teacher_layer(self) -> str:
        return self.hint_layer

    @property
    def student_layers(self) -> tuple[str, ...]:
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
    """Cross-entropy with the labels at hidden layers, summed over these layers.

    classifiers: a softmax layer for each hidden layer, by that layer's name.
    factor: the term's weight in the loss."""

    classifiers: dict[str, SoftmaxLayer]
    factor: float
    name: str = "label_hint"
    teacher_layer: None = None

    @property
    def student_layers(self) -> tuple[str, ...]:
        return tuple(self.classifiers)

    @property
    def heads(self) -> dict[str, nn.Module]:
        return {f"classifier_{layer}": classifier for layer, classifier in self.classifiers.items()}

    def loss(self, outputs: BatchOutputs) -> Tensor:
        layer_losses = [
            losses.label_loss(classifier(outputs.features[layer]), outputs.labels)
            for layer, classifier in self.classifiers.items()
        ]
        return sum(layer_losses[1:], layer_losses[0])

    def weight(self, epoch: int) -> float | None:
        return self.factor
