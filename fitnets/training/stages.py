"""Training stages: which layers a stage trains, its loss on a batch, and its values on validation.

All methods are made of three kinds of stage, and all stages share one loop (`loop.py`). `WholeNetworkStage` trains a
whole network on a sum of loss terms. `HintStage`, the paper's stage 1, trains the student up to its guided layer on
the teacher's hint. `LabelHintStage` trains the same layers on the labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from fitnets.config import StageSettings
from fitnets.data.splits import Batch, Split
from fitnets.models import layers as models_layers
from fitnets.models.layers import Regressor, SoftmaxLayer
from fitnets.models.network import Network
from fitnets.training import losses, metrics
from fitnets.training.loss_terms import BatchOutputs, LabelTerm, LossTerm
from fitnets.training.teacher_outputs import LiveTeacher, TeacherOutputs

Values = Mapping[str, Tensor | float]
"""values to log, by name"""


class TrainingStage(Protocol):
    """The interface between a stage and the training loop.

    name: the stage's name in every file.
    selected_by: names of the validation values whose minimum selects the epoch; the first decides, the others break
    ties.
    network: the network that is trained, whole or in part.
    teacher: stays frozen; None if the stage needs no teacher.
    teacher_layers: the teacher's layers whose outputs the stage needs; LOGITS stands for the logits.
    teacher_outputs: computes or looks up these outputs. A new stage runs the teacher on every batch.
    layers: the modules that are trained, by layer name; nothing else may change."""

    name: str
    selected_by: tuple[str, ...]
    settings: StageSettings
    network: Network

    @property
    def teacher(self) -> Network | None: ...

    @property
    def teacher_layers(self) -> tuple[str, ...]: ...

    teacher_outputs: TeacherOutputs | None

    @property
    def layers(self) -> dict[str, nn.Module]: ...

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Values]:
        """Return the loss of a batch, a scalar, and further values to log. epoch: counted from 0."""

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        """Return values on the validation split, by name. Leaves the networks in evaluation mode."""


def train_mode(stage: TrainingStage) -> None:
    """Put all trained layers into training mode, before each epoch. Raises AssertionError for an unfrozen teacher."""
    teacher = stage.teacher
    if teacher is not None:
        assert not any(module.training for module in teacher.modules()), "the teacher left evaluation mode"
        assert not any(parameter.requires_grad for parameter in teacher.parameters()), "the teacher can move"
    for layer in stage.layers.values():
        layer.train()
    stage.network.train_with(stage.settings.dropout)


@dataclass(slots=True)
class WholeNetworkStage:
    """Trains a whole network on a weighted sum of loss terms: teacher training, stage 2 (Eq. 2), and every baseline."""

    name: str
    network: Network
    settings: StageSettings
    terms: Sequence[LossTerm]
    teacher: Network | None = None
    selected_by: tuple[str, ...] = ("valid_error", "valid_loss")
    teacher_outputs: TeacherOutputs | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.teacher is not None:
            self.teacher_outputs = LiveTeacher(self.teacher)

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term.teacher_layer for term in self.terms if term.teacher_layer is not None))

    @property
    def layers(self) -> dict[str, nn.Module]:
        layers = self.network.trainable_parts()
        for term in self.terms:
            layers |= term.heads
        return layers

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Values]:
        logits, features = self.network(batch.images, {layer for term in self.terms for layer in term.student_layers})
        teacher = self.teacher_outputs(batch, self.teacher_layers) if self.teacher_outputs is not None else {}
        outputs = BatchOutputs(labels=batch.labels, logits=logits, features=features, teacher=teacher)
        total = torch.zeros((), device=logits.device)
        values: dict[str, Tensor | float] = {}
        for term in self.terms:
            with self.network.arithmetic():
                loss = term.loss(outputs)
            weight = term.weight(epoch)
            values[f"train_{term.name}_loss"] = loss
            if weight is not None:
                values[f"{term.name}_weight"] = weight
            total = total + loss * (1.0 if weight is None else weight)
        return total, values

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        logits, labels = metrics.predict(self.network, valid, batch_size)
        return {"valid_error": metrics.error(logits, labels), "valid_loss": metrics.cross_entropy(logits, labels)}


def label_stage(name: str, network: Network, settings: StageSettings) -> WholeNetworkStage:
    """A stage on cross-entropy with the labels alone: teacher training, and the backprop baseline."""
    return WholeNetworkStage(name, network, settings, [LabelTerm()])


@dataclass(slots=True)
class HintStage:
    """Stage 1 (Eq. 3): trains the student up to its guided layer, and the regressor, on the teacher's hint.

    The student is computed only up to the guided layer, the teacher only up to the hint layer."""

    network: Network
    teacher: Network
    regressor: Regressor
    hint_layer: str
    guided_layer: str
    settings: StageSettings
    reduction: losses.Reduction
    name: str = "hint"
    selected_by: tuple[str, ...] = ("valid_hint_loss",)
    teacher_outputs: TeacherOutputs | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.teacher_outputs = LiveTeacher(self.teacher)

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        return (self.hint_layer,)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return self.network.trainable_parts(self.guided_layer) | {"regressor": self.regressor}

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Values]:
        return self._loss(batch), {}

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        self.network.eval()
        self.regressor.eval()
        with torch.no_grad():
            summed = sum(float(self._loss(batch)) * len(batch) for batch in valid.ordered(batch_size))
        return {"valid_hint_loss": summed / len(valid)}

    def _loss(self, batch: Batch) -> Tensor:
        assert self.teacher_outputs is not None
        hint = self.teacher_outputs(batch, self.teacher_layers)[self.hint_layer]
        with self.network.arithmetic():
            regressed = self.regressor(self.network.forward_until(batch.images, self.guided_layer))
        return losses.hint_loss(regressed, hint, self.reduction)


@dataclass(slots=True)
class LabelHintStage:
    """Stage 1 of the ablations in section 3.1: trains the student up to its guided layer on the labels.

    classifier: a softmax layer on the guided layer's output; dropped after the stage."""

    network: Network
    classifier: SoftmaxLayer
    guided_layer: str
    settings: StageSettings
    name: str = "hint"
    selected_by: tuple[str, ...] = ("valid_error", "valid_loss")
    teacher: Network | None = None
    teacher_outputs: TeacherOutputs | None = None
    teacher_layers: tuple[str, ...] = ()

    @property
    def layers(self) -> dict[str, nn.Module]:
        return self.network.trainable_parts(self.guided_layer) | {f"classifier_{self.guided_layer}": self.classifier}

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Values]:
        return losses.label_loss(self._logits(batch.images), batch.labels), {}

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        self.network.eval()
        self.classifier.eval()
        with torch.no_grad():
            batches = [(self._logits(batch.images), batch.labels) for batch in valid.ordered(batch_size)]
        logits, labels = (torch.cat(column) for column in zip(*batches, strict=True))
        return {"valid_error": metrics.error(logits, labels), "valid_loss": metrics.cross_entropy(logits, labels)}

    def _logits(self, images: Tensor) -> Tensor:
        with self.network.arithmetic():
            logits: Tensor = self.classifier(self.network.forward_until(images, self.guided_layer))
        return models_layers.as_float32(logits)
