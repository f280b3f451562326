"""Options of `method`: the stages that train the student, and the terms of their losses."""

from dataclasses import field
from typing import Any, Literal

from fitnets.config.options import AT_LEAST_0, added, bounded, former_option, neutral, option

Table = dict[str, Any]
"""A loss term as a table: `loss` is its kind (left out if the term is named after it), the rest are its options."""


@option
class MethodStage:
    """A stage of a method. It trains the student, or a part of it, on the weighted sum of its loss terms."""

    terms: dict[str, Any] = field(default_factory=dict)
    """the terms by name, each a table: `loss` is its kind (left out if the term is named after it), and the other keys
    are the options of that loss, see `fitnets/terms/losses`"""


@option
class Method:
    """The stages of the student's training, by name. `hint`, which a method may have, trains the student up to its
    guided layer (the last one, if there are several). `student` trains all of it. Each has the hyperparameters of the
    section of `schedule` with its name."""

    name: str = neutral()
    stages: dict[str, Any]
    """each a `MethodStage`; Hydra gets no type, because it adds no entry to a table of typed options"""
    teaching_weight: float = added(default=1.0, bounds=AT_LEAST_0)
    """factor on the weights of all terms of the stage `student` that read the teacher"""


StageName = Literal["hint", "student"]
STAGES: tuple[StageName, ...] = ("hint", "student")
"""the stages that a method can have, in their order"""


@option
class Ramp:
    """A weight that changes linearly with the epochs, which count from 0."""

    start: float = bounded(AT_LEAST_0)
    """the weight up to `start_epoch`"""
    end: float = bounded(AT_LEAST_0)
    """the weight from `end_epoch` on"""
    start_epoch: int = bounded(AT_LEAST_0, default=0)
    end_epoch: int | None = bounded(AT_LEAST_0, default=None)
    """None: the stage's last epoch"""

    def at(self, epoch: int, epochs: int) -> float:
        """The weight in an epoch. epochs: length of the stage"""
        end = epochs - 1 if self.end_epoch is None else self.end_epoch
        if epoch >= end:
            return self.end
        progress = max(0, epoch - self.start_epoch) / (end - self.start_epoch) if end > self.start_epoch else 0.0
        return self.start + (self.end - self.start) * progress


def kind(name: str, table: Table) -> str:
    """The kind of a term. name: the term's name"""
    return str(table.get("loss", name))


def kinds(method: Method) -> set[str]:
    """The kinds of all terms of a method."""
    return {kind(name, table) for stage in method.stages.values() for name, table in stage.terms.items()}


# --- methods of earlier versions, whose options had classes of their own ---


def _one_stage(name: str, **terms: Table) -> Method:
    return Method(name=name, stages={"student": MethodStage(terms=terms)})


def _two_stages(name: str, hint: Table, **terms: Table) -> Method:
    return Method(name=name, stages={"hint": MethodStage(terms=hint), "student": MethodStage(terms=terms)})


@former_option("Hints")
def hints(name: str = "hints") -> Method:
    return _two_stages(name, {"hint": {}}, label={}, kd={})


@former_option("Distill")
def distill(name: str = "kd") -> Method:
    return _one_stage(name, label={}, kd={})


@former_option("Backprop")
def backprop(name: str = "backprop") -> Method:
    return _one_stage(name, label={})


@former_option("Mimic")
def mimic(name: str = "mimic") -> Method:
    return _one_stage(name, mimic={})


@former_option("DeeplySupervised")
def deeply_supervised(name: str = "dsn", weight: float = 1.0) -> Method:
    return _one_stage(name, label={}, label_hint={"layers": "all", "weight": weight})


@former_option("LabelHints")
def label_hints(name: str = "labels_then_labels", staged: bool = True, whole: str = "labels") -> Method:
    terms: dict[str, Table] = {"label": {}, **({"kd": {}} if whole == "kd" else {})}
    if staged:
        return _two_stages(name, {"label_hint": {}}, **terms)
    return _one_stage(name, **terms, label_hint={})


@former_option("Joint")
def joint(name: str = "joint", hint_weight: float = 100.0, distill: bool = False) -> Method:
    terms: dict[str, Table] = {"label": {}, **({"kd": {}} if distill else {})}
    return _one_stage(name, **terms, hint={"weight": hint_weight, "reduction": "mean"})
