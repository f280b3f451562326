"""What a stage trains: a step that returns (loss, terms), and the value on validation that it watches.

Every stage of every method is one of three objectives, and shares one loop (`loop.py`): a whole network with a sum of
loss terms; the student up to its guided layer with the teacher's hint (the paper's stage 1), or with the labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from fitnets.config import Stage
from fitnets.data.splits import Batch, Split
from fitnets.models import layers as models_layers
from fitnets.models.layers import Regressor, SoftmaxLayer
from fitnets.models.network import Network
from fitnets.training import losses, metrics
from fitnets.training.loss_terms import LabelTerm, Outputs, Term
from fitnets.training.teacher_cache import Answers, Computed

Terms = Mapping[str, Tensor | float]


class Objective(Protocol):
    """`name`: of the stage, in every file. `watched`: values on validation whose minimum selects the epoch; the first
    decides, the others break ties. `teacher`: what must not move; None: the stage needs none."""

    name: str
    watched: tuple[str, ...]
    stage: Stage
    network: Network

    @property
    def teacher(self) -> Network | None: ...

    @property
    def wants(self) -> tuple[str, ...]:
        """What it asks the teacher for."""

    answers: Answers | None
    """of the teacher; who only has the objective gets them computed"""

    @property
    def layers(self) -> dict[str, nn.Module]:
        """What is trained, by layer name; nothing else may change."""

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Terms]:
        """The loss of a batch, and what else to report, by name."""

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        """Values on the validation split, by name. Leaves the networks in evaluation mode."""


def train_mode(objective: Objective) -> None:
    """Called before each epoch: all that is trained is in training mode, the teacher is frozen."""
    teacher = objective.teacher
    if teacher is not None:
        assert not any(module.training for module in teacher.modules()), "the teacher left evaluation mode"
        assert not any(parameter.requires_grad for parameter in teacher.parameters()), "the teacher can move"
    for layer in objective.layers.values():
        layer.train()
    objective.network.train_with(objective.stage.dropout)


@dataclass(slots=True)
class WholeObjective:
    """A whole network learns the weighted sum of some terms: the teacher's training, stage 2, and every baseline."""

    name: str
    network: Network
    stage: Stage
    terms: Sequence[Term]
    teacher: Network | None = None
    watched: tuple[str, ...] = ("valid_error", "valid_loss")
    answers: Answers | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.teacher is not None:
            self.answers = Computed(self.teacher)

    @property
    def wants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term.wants for term in self.terms if term.wants is not None))

    @property
    def layers(self) -> dict[str, nn.Module]:
        layers = self.network.parts()
        for term in self.terms:
            layers |= term.heads
        return layers

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Terms]:
        logits, features = self.network(batch.images, {layer for term in self.terms for layer in term.reads})
        taught = self.answers(batch, self.wants) if self.answers is not None else {}
        outputs = Outputs(labels=batch.labels, logits=logits, features=features, teacher=taught)
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


def label_objective(name: str, network: Network, stage: Stage) -> WholeObjective:
    """Cross-entropy with the labels: the teacher's training, and the backprop baseline."""
    return WholeObjective(name, network, stage, [LabelTerm()])


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
    reduction: losses.Reduction
    name: str = "hint"
    watched: tuple[str, ...] = ("valid_hint_loss",)
    answers: Answers | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.answers = Computed(self.teacher)

    @property
    def wants(self) -> tuple[str, ...]:
        return (self.hint_layer,)

    @property
    def layers(self) -> dict[str, nn.Module]:
        return self.network.parts(self.guided_layer) | {"regressor": self.regressor}

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Terms]:
        return self._loss(batch), {}

    def validate(self, valid: Split, batch_size: int) -> dict[str, float]:
        self.network.eval()
        self.regressor.eval()
        with torch.no_grad():
            summed = sum(float(self._loss(batch)) * len(batch) for batch in valid.ordered(batch_size))
        return {"valid_hint_loss": summed / len(valid)}

    def _loss(self, batch: Batch) -> Tensor:
        assert self.answers is not None
        hint = self.answers(batch, self.wants)[self.hint_layer]
        with self.network.arithmetic():
            regressed = self.regressor(self.network.up_to(batch.images, self.guided_layer))
        return losses.hint_loss(regressed, hint, self.reduction)


@dataclass(slots=True)
class LabelHintObjective:
    """Stage 1 of the ablations in section 3.1: the student up to its guided layer, through a softmax layer of its own,
    learns the labels."""

    network: Network
    classifier: SoftmaxLayer
    guided_layer: str
    stage: Stage
    name: str = "hint"
    watched: tuple[str, ...] = ("valid_error", "valid_loss")
    teacher: Network | None = None
    answers: Answers | None = None
    wants: tuple[str, ...] = ()

    @property
    def layers(self) -> dict[str, nn.Module]:
        return self.network.parts(self.guided_layer) | {f"classifier_{self.guided_layer}": self.classifier}

    def step(self, batch: Batch, epoch: int) -> tuple[Tensor, Terms]:
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
            logits: Tensor = self.classifier(self.network.up_to(images, self.guided_layer))
        return models_layers.full(logits)
