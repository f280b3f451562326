"""Training stages: which layers a stage trains, its loss on a batch, and its values on validation.

A stage trains a network, or a part of it, on a weighted sum of loss terms. All stages share one loop (`loop.py`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from fitnets.config import StageSettings
from fitnets.data.splits import Batch, Split
from fitnets.models.network import Network
from fitnets.parallel.group import ALONE, Group
from fitnets.terms.loss import BatchOutputs, Term
from fitnets.training import metrics, whole_batch
from fitnets.training.teacher_outputs import LiveTeacher, TeacherOutputs

Values = Mapping[str, Tensor | float]
"""values to log, by name"""


@dataclass(slots=True, kw_only=True)
class Stage:
    """A stage of training: the teacher's own, the paper's stage 1 (Eq. 3) and stage 2 (Eq. 2), and those of every other
    method.

    name: the stage's name in every file, and the section of `schedule` that has its hyperparameters.
    network: the network that is trained, whole or in part.
    terms: the loss is their weighted sum.
    until: layers up to which the network is trained; empty if all of it is. Other layers are neither computed nor
        changed.
    teacher: stays frozen; None if no term needs it.
    teacher_outputs: computes or looks up the teacher's outputs. A new stage runs the teacher on every batch."""

    name: Literal["teacher", "hint", "student"]
    network: Network
    settings: StageSettings
    terms: Sequence[Term]
    until: tuple[str, ...] = ()
    teacher: Network | None = None
    teacher_outputs: TeacherOutputs | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.teacher is not None:
            self.teacher_outputs = LiveTeacher(self.teacher)

    @property
    def is_partial(self) -> bool:
        """Return whether the stage trains only a part of the network."""
        return bool(self.until)

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """The teacher's layers whose outputs the terms need; LOGITS stands for the logits."""
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.teacher_layers))

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The network's hidden layers whose features the terms need."""
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.student_layers))

    @property
    def layers(self) -> dict[str, nn.Module]:
        """The modules that are trained, by layer name; nothing else may change."""
        return self.network.trainable_parts(*self.until) | self.heads

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The modules that are trained beside the network and dropped afterwards, by name."""
        return {name: head for term in self.terms for name, head in term.heads.items()}

    @property
    def memory(self) -> dict[str, nn.Module]:
        """The modules without parameters that change in training, by name."""
        return {name: module for term in self.terms for name, module in term.memory.items()}

    @property
    def selected_by(self) -> tuple[str, ...]:
        """Names of the validation values whose minimum selects the epoch; the first decides, the others break ties."""
        if not self.is_partial:
            return ("valid_error", "valid_loss")
        return self._own_values or ("valid_hint_loss",)

    @property
    def _own_values(self) -> tuple[str, ...]:
        """Names of the values by which the only term of a stage 1 selects the epoch; empty if the loss does."""
        return self.terms[0].selected_by if len(self.terms) == 1 else ()

    def begin(self, split: Split) -> None:
        """Called before the stage trains on the images of a split."""
        for term in self.terms:
            term.begin(split)

    def step(self, batch: Batch, epoch: int, group: Group = ALONE) -> tuple[Tensor, Values]:
        """Return the loss of a batch, a scalar, and further values to log.

        epoch: counted from 0.
        group: the processes that compute the other rows of the batch. Terms that compare the images of a batch see all
            of them."""
        outputs = self._outputs(batch)
        total = torch.zeros((), device=batch.images.device)
        values: dict[str, Tensor | float] = {}
        for term in self.terms:
            loss = whole_batch.loss(term, outputs, self.settings.batch_size, group)
            weight = term.weight(epoch)
            values[f"train_{term.name}_loss"] = loss
            if term.weight_is_shown:
                values[f"{term.name}_weight"] = weight
            total = total + loss * weight
        if self.is_partial and len(self.terms) == 1:
            return total, {}  # its loss is the stage's
        return total, values

    def validate(self, valid: Split, batch_size: int, group: Group = ALONE) -> dict[str, float]:
        """Return values on the validation split, by name. Leaves the networks in evaluation mode.

        group: the processes to which the batches are dealt out; each returns the same values."""
        if not self.is_partial:
            logits, labels = metrics.predict(self.network, valid, batch_size, group)
            return {"valid_error": metrics.error(logits, labels), "valid_loss": metrics.cross_entropy(logits, labels)}
        self.network.eval()
        for head in self.heads.values():
            head.eval()
        sums: dict[str, float] = defaultdict(float)
        batches = torch.split(valid.rows, batch_size)
        for values in group.dealt(batches, lambda rows: self._validation_sums(valid.batch(rows))):
            for name, value in values.items():
                sums[name] += value
        return {name: total / len(valid) for name, total in sums.items()}

    @torch.no_grad()
    def _validation_sums(self, batch: Batch) -> dict[str, float]:
        """Sums over the images of a batch by which a stage 1 is validated, by name."""
        outputs = self._outputs(batch)
        if self._own_values:
            return {name: float(value) for name, value in self.terms[0].validate(outputs).items()}
        last = self.settings.epochs - 1
        loss = sum(term.weight(last) * float(term.loss(outputs)) for term in self.terms)
        return {"valid_hint_loss": loss * len(batch)}

    def _outputs(self, batch: Batch) -> BatchOutputs:
        teacher = self.teacher_outputs(batch, self.teacher_layers) if self.teacher_outputs is not None else {}
        if self.is_partial:
            logits, features = None, self.network.features(batch.images, self.student_layers)
        else:
            logits, features = self.network(batch.images, self.student_layers)
        return BatchOutputs(
            labels=batch.labels,
            rows=batch.rows,
            mixture=batch.mixture,
            logits=logits,
            features=features,
            teacher=teacher,
            arithmetic=self.network.arithmetic,
        )


def train_mode(stage: Stage) -> None:
    """Put all trained layers into training mode, before each epoch. Raises AssertionError for an unfrozen teacher."""
    teacher = stage.teacher
    if teacher is not None:
        assert not any(module.training for module in teacher.modules()), "the teacher left evaluation mode"
        assert not any(parameter.requires_grad for parameter in teacher.parameters()), "the teacher can move"
    for layer in stage.layers.values():
        layer.train()
    stage.network.train_with(stage.settings.dropout)
