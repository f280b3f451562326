"""Cross-entropy with the labels at hidden layers, each through a softmax layer of its own.

At every hidden layer it makes the student a deeply-supervised net (Lee et al., 2015); at the guided layer it gives the
ablations of section 3.1, in which the labels take the place of the teacher's hint.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from torch import Tensor

from fitnets.config import Config, CustomStudent
from fitnets.config.seeds import seed_of
from fitnets.models import build, hint_pair
from fitnets.models.layers import SoftmaxLayer, as_float32
from fitnets.models.network import place_like
from fitnets.terms.loss import BatchOutputs, Loss, Site, Term, loss
from fitnets.terms.losses.label import batch_label_loss, label_loss


@loss
class LabelHint(Loss):
    """Cross-entropy with the labels at hidden layers, summed over these layers."""

    reads_teacher: ClassVar[bool] = False

    layers: Literal["guided", "all"] = "guided"
    """guided: the guided layers of `hint_layer`; all: every hidden layer"""

    @property
    def at(self) -> Literal["pairs", "guided"] | None:  # type: ignore[override]
        return "guided" if self.layers == "guided" else None

    def build(self, site: Site) -> Term:
        return LabelHintTerm(self, site)

    def determined_by(self, config: Config) -> list[Any]:
        return hint_pair.guided_layers(config) if self.layers == "guided" else []

    def problems(self, key: str, config: Config) -> Iterator[str]:
        if self.layers == "all" and isinstance(config.student, CustomStudent):
            yield (
                f"method={config.method.name} trains every hidden layer, and a custom student has no list of them: "
                "give another method"
            )


class LabelHintTerm(Term):
    """The term of `LabelHint`.

    classifiers: a softmax layer for each hidden layer, by that layer's name."""

    def __init__(self, option: LabelHint, site: Site):
        super().__init__(site.name, site.settings.epochs, option.weight)
        student, config = site.student, site.config
        layers = hint_pair.guided_layers(config) if option.layers == "guided" else student.hint_layer_names
        self.student_layers = tuple(layers)
        self.classifiers: dict[str, SoftmaxLayer] = {}
        for layer in layers:
            classifier = build.classifier(student.layer_output(layer), config.dataset.classes)
            seed = seed_of("classifier weights", layer, config.seed)
            build.initialise(classifier, config.schedule.student_init, seed)
            self.classifiers[layer] = place_like(student, classifier)
            self.heads[self.head_name(f"classifier_{layer}")] = classifier
        if len(layers) == 1:
            self.selected_by = ("valid_error", "valid_loss")

    def loss(self, outputs: BatchOutputs) -> Tensor:
        losses = [batch_label_loss(self._logits(layer, outputs), outputs) for layer in self.classifiers]
        return sum(losses[1:], losses[0])

    def _logits(self, layer: str, outputs: BatchOutputs) -> Tensor:
        with outputs.arithmetic():
            logits: Tensor = self.classifiers[layer](outputs.features[layer])
        return as_float32(logits)

    def validate(self, outputs: BatchOutputs) -> dict[str, Tensor]:
        (layer,) = self.classifiers
        logits, labels = self._logits(layer, outputs), outputs.labels
        wrong = (logits.argmax(dim=1) != labels).sum()
        return {"valid_error": wrong, "valid_loss": label_loss(logits, labels) * len(labels)}

    def describe(self) -> str:
        if len(self.classifiers) > 1:
            return f"cross-entropy with the labels at {len(self.classifiers)} hidden layers"
        return f"student {next(iter(self.classifiers))} learns the labels through a softmax layer of its own"
