"""What a stage trains: a step that returns (loss, terms), and the value on validation that it watches.

Teacher training, stage 1 (hints), stage 2 (distillation) and plain backprop share one loop (`loop.py`) and differ here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from fitnets import losses, metrics, schedules
from fitnets.config import Distillation, Stage
from fitnets.data import Split
from fitnets.layers import Regressor
from fitnets.networks import Network

Terms = Mapping[str, Tensor | float]


class Objective(Protocol):
    """`name`: of the stage, in every file. `watched`: values on validation whose minimum selects the epoch; the first
    decides, the others break ties."""

    name: str
    watched: tuple[str, ...]
    stage: Stage
    network: Network

    @property
    def layers(self) -> dict[str, nn.Module]:
        """What is trained, by layer name; nothing else may change."""

    def train_mode(self) -> None:
        """Called before each epoch."""

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Terms]:
        """The loss of a batch, and what else to report, by name. images: (N, C, H, W); labels: (N,)."""

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        """Values on the validation split, by name. Leaves the networks in evaluation mode."""


@dataclass(slots=True)
class LabelObjective:
    """Cross-entropy with the labels: the teacher's training, and the backprop baseline."""

    name: str
    network: Network
    stage: Stage
    watched: tuple[str, ...] = ("valid_error", "valid_loss")

    @property
    def layers(self) -> dict[str, nn.Module]:
        return dict(self.network.layers.items())

    def train_mode(self) -> None:
        self.network.train_with(self.stage.dropout)

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Terms]:
        logits, _ = self.network(images)
        return losses.label_loss(logits, labels), {}

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        return _label_values(self.network, valid, batch_size)


@dataclass(slots=True)
class HintObjective:
    """Stage 1: the student up to its guided layer, through the regressor, learns the teacher's hint (Eq. 3).

    Neither network is computed beyond those layers."""

    network: Network
    teacher: Network
    regressor: Regressor
    hint_layer: str
    guided_layer: str
    stage: Stage
    reduction: Literal["sum", "released"]
    name: str = "hint"
    watched: tuple[str, ...] = ("valid_hint_loss",)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return self.network.prefix(self.guided_layer) | {"regressor": self.regressor}

    def train_mode(self) -> None:
        _assert_frozen(self.teacher)
        self.network.train_with(self.stage.dropout)
        self.regressor.train()

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Terms]:
        return self._loss(images), {}

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        self.network.eval()
        self.regressor.eval()
        with torch.no_grad():
            summed = sum(float(self._loss(images)) * len(images) for images, _ in valid.ordered(batch_size))
        return {"valid_hint_loss": summed / len(valid)}

    def _loss(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            hint = self.teacher.up_to(images, self.hint_layer)
        regressed = self.regressor(self.network.up_to(images, self.guided_layer))
        return losses.hint_loss(regressed, hint, self.reduction)


@dataclass(slots=True)
class DistillObjective:
    """Stage 2, and the KD baseline: labels plus the teacher's softened outputs, lambda annealed (Eq. 2)."""

    network: Network
    teacher: Network
    kd: Distillation
    stage: Stage
    name: str = "student"
    watched: tuple[str, ...] = ("valid_error", "valid_loss")

    @property
    def layers(self) -> dict[str, nn.Module]:
        return dict(self.network.layers.items())

    def train_mode(self) -> None:
        _assert_frozen(self.teacher)
        self.network.train_with(self.stage.dropout)

    def step(self, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Terms]:
        with torch.no_grad():
            teacher_logits, _ = self.teacher(images)
        logits, _ = self.network(images)
        weight = schedules.kd_weight(self.kd, epoch, self.stage.epochs)
        label = losses.label_loss(logits, labels)
        softened = losses.softened_loss(
            logits, teacher_logits, self.kd.temperature, soften_student=self.kd.soften_student
        )
        terms: Terms = {"train_label_loss": label, "train_softened_loss": softened, "kd_weight": weight}
        return label + weight * softened, terms

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        return _label_values(self.network, valid, batch_size)


def _label_values(network: Network, valid: Split, batch_size: int) -> dict[str, float]:
    logits, labels = metrics.predict(network, valid, batch_size)
    return {"valid_error": metrics.error(logits, labels), "valid_loss": metrics.cross_entropy(logits, labels)}


def _assert_frozen(teacher: Network) -> None:
    assert not any(module.training for module in teacher.modules()), "the teacher left evaluation mode"
    assert not any(parameter.requires_grad for parameter in teacher.parameters()), "the teacher can move"
