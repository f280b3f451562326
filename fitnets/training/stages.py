"""What a stage trains: a step that returns (loss, terms), and the value on validation that it watches.

Every stage of every method is one of three objectives, and shares one loop (`loop.py`): a whole network with a sum of
loss terms; the student up to its guided layer with the teacher's hint (the paper's stage 1), or with the labels.
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
from fitnets.training.teacher_cache import LiveTeacher, TeacherOutputs

Values = Mapping[str, Tensor | float]


class TrainingStage(Protocol):
    """What the training loop needs of a stage.

    name: the stage's name in every file.
    selected_by: validation values whose minimum selects the epoch; the first decides, the others break ties.
    teacher: must not move; None if the stage needs no teacher."""

    name: str
    selected_by: tuple[str, ...]
    settings: StageSettings
    network: Network

    @property
    def teacher(self) -> Network | None: ...

    @property
    def wants(self) -> tuple[str, ...]:
        """What it asks the teacher for."""

    teacher_outputs: TeacherOutputs | None
    """of the teacher; who only has the stage gets them computed"""

    @property
    def layers(self) -> dict[str, nn.Module]:
        """What is trained, by layer name; nothing else may change."""

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Values]:
        """The loss of a batch, and what else to report, by name."""

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        """Values on the validation split, by name. Leaves the networks in evaluation mode."""


def train_mode(stage: TrainingStage) -> None:
    """Called before each epoch: all that is trained is in training mode, the teacher is frozen."""
    teacher = stage.teacher
    if teacher is not None:
        assert not any(module.training for module in teacher.modules()), "the teacher left evaluation mode"
        assert not any(parameter.requires_grad for parameter in teacher.parameters()), "the teacher can move"
    for layer in stage.layers.values():
        layer.train()
    stage.network.train_with(stage.settings.dropout)


@dataclass(slots=True)
class WholeNetworkStage:
    """A whole network learns the weighted sum of some terms: the teacher's training, stage 2, and every baseline."""

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
    def wants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term.wants for term in self.terms if term.wants is not None))

    @property
    def layers(self) -> dict[str, nn.Module]:
        layers = self.network.trainable_parts()
        for term in self.terms:
            layers |= term.heads
        return layers

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Values]:
        logits, features = self.network(batch.images, {layer for term in self.terms for layer in term.reads})
        taught = self.teacher_outputs(batch, self.wants) if self.teacher_outputs is not None else {}
        outputs = BatchOutputs(labels=batch.labels, logits=logits, features=features, teacher=taught)
        total = torch.zeros((), device=logits.device)
        told: dict[str, Tensor | float] = {}
        for term in self.terms:
            with self.network.arithmetic():
                value = term.loss(outputs)
            weight = term.weight(epoch)
            told[f"train_{term.name}_loss"] = value
            if weight is not None:
                told[f"{term.name}_weight"] = weight
            total = total + value * (1.0 if weight is None else weight)
        return total, told

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        logits, labels = metrics.predict(self.network, valid, batch_size)
        return {"valid_error": metrics.error(logits, labels), "valid_loss": metrics.cross_entropy(logits, labels)}


def label_stage(name: str, network: Network, settings: StageSettings) -> WholeNetworkStage:
    """Cross-entropy with the labels: the teacher's training, and the backprop baseline."""
    return WholeNetworkStage(name, network, settings, [LabelTerm()])


@dataclass(slots=True)
class HintStage:
    """Stage 1: the student up to its guided layer, through the regressor, learns the teacher's hint (Eq. 3).

    Neither network is computed beyond those layers."""

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
    def wants(self) -> tuple[str, ...]:
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
        hint = self.teacher_outputs(batch, self.wants)[self.hint_layer]
        with self.network.arithmetic():
            regressed = self.regressor(self.network.forward_until(batch.images, self.guided_layer))
        return losses.hint_loss(regressed, hint, self.reduction)


@dataclass(slots=True)
class LabelHintStage:
    """Stage 1 of the ablations in section 3.1: the student up to its guided layer, through a softmax layer of its own,
    learns the labels."""

    network: Network
    classifier: SoftmaxLayer
    guided_layer: str
    settings: StageSettings
    name: str = "hint"
    selected_by: tuple[str, ...] = ("valid_error", "valid_loss")
    teacher: Network | None = None
    teacher_outputs: TeacherOutputs | None = None
    wants: tuple[str, ...] = ()

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
