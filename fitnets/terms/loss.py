"""The interface of a loss: its options, and the term of a stage's loss that it builds for two networks.

To add a loss, put a module with one subclass of `LogitLoss`, `FeatureLoss` or `Loss` into `losses/`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, dataclass_transform

from torch import Tensor, nn

from fitnets.config import Config, IdentityRegressor, Ramp, StageSettings
from fitnets.config.options import AT_LEAST_0, bounded
from fitnets.config.seeds import seed_of
from fitnets.data.mixing import Mixture
from fitnets.data.splits import Split
from fitnets.models import build, hint_pair
from fitnets.models.hint_pair import Link
from fitnets.models.layers import LOGITS, Regressor, as_float32
from fitnets.models.network import Network, place_like

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
Weight = float | Ramp


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutputs:
    """Everything that loss terms compare for one batch.

    labels: class indices, (N,).
    rows: the row of each image in its data set, (N,).
    mixture: the labels and shares of the images that are mixed with these; None: they are not mixed.
    logits: the student's logits, (N, classes), in fp32; None in a stage that trains only a part of the student.
    features: the student's features, by layer.
    teacher: the teacher's outputs by layer; the key LOGITS holds its logits.
    arithmetic: the context in which heads compute, with the precision of the networks. Losses are computed in fp32."""

    labels: Tensor
    rows: Tensor
    mixture: Mixture | None = None
    logits: Tensor | None
    features: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]
    arithmetic: Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Everything that a term is built from.

    key: dotted key of the term, for messages.
    name: the term's name in its stage.
    settings: hyperparameters of the stage.
    teacher: None for teacher=none."""

    key: str
    name: str
    config: Config
    settings: StageSettings
    teacher: Network | None
    student: Network

    def links(self) -> list[Link]:
        """The pairs of `hint_layer`."""
        return hint_pair.links(self.config)

    def last_link(self) -> Link:
        """The last hidden layers of both networks."""
        assert self.teacher is not None
        hint, guided = self.teacher.last_hidden_layer, self.student.last_hidden_layer
        return Link(name="last", hint=hint, guided=guided, regressor=IdentityRegressor())

    def regressor(self, link: Link) -> Regressor:
        """A new regressor from the guided layer to the hint layer of a pair. Raises ConfigError if none fits."""
        assert self.teacher is not None
        guided, hint = self.student.layer_output(link.guided), self.teacher.layer_output(link.hint)
        purpose = ("regressor weights", *([link.name] if link.name else []))
        return self.placed(build.regressor(link.regressor, guided, hint), *purpose)

    def placed(self, head: M, *purpose: str) -> M:
        """Draw a head's initial weights, with a seed that depends on its purpose, and move it to the student."""
        build.initialise(head, self.config.schedule.regressor_init, seed_of(*purpose, self.config.seed))
        return place_like(self.student, head)


class Term:
    """A summand of a stage's loss, ready to train.

    student_layers, teacher_layers: the layers whose outputs the term reads; LOGITS is the teacher's logits.
    links: the pairs of layers that the term connects.
    heads: modules that are trained beside the network and dropped after training, by name.
    memory: modules without parameters whose buffers change in training, by name; they are part of a checkpoint.
    compares_images: whether the loss is more than a mean over the images, so that it needs the whole batch.
    selected_by: names of the values of `validate` whose minimum selects the epoch of a stage 1 that has this term
        alone: the first decides, the others break ties; empty if the term's loss does."""

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    links: Sequence[Link] = ()
    compares_images: bool = False

    def __init__(self, name: str, epochs: int, weight: Weight):
        self.name = name
        self.epochs = epochs
        self.factor = weight
        self.heads: dict[str, nn.Module] = {}
        self.memory: dict[str, nn.Module] = {}
        self.selected_by: tuple[str, ...] = ()

    def loss(self, outputs: BatchOutputs) -> Tensor:
        """Return the loss without its weight: a scalar in fp32, the mean over the batch."""
        raise NotImplementedError

    def weight(self, epoch: int) -> float:
        """The term's factor in an epoch, which counts from 0."""
        return self.factor.at(epoch, self.epochs) if isinstance(self.factor, Ramp) else self.factor

    @property
    def weight_is_shown(self) -> bool:
        """Return whether the weight is logged, which it is unless it is 1 in every epoch."""
        return self.factor != 1

    def describe(self) -> str:
        """Describe in words what the student learns, for the plan of a run."""
        raise NotImplementedError

    def summary(self) -> str:
        """The description with the weight."""
        match self.factor:
            case Ramp(start=start, end=end):
                return f"{start:g} to {end:g} x {self.name}: {self.describe()}"
            case 1:
                return self.describe()
            case factor:
                return f"{factor:g} x {self.name}: {self.describe()}"

    def begin(self, split: Split) -> None:
        """Called before a stage trains on the images of a split, and before its checkpoint is loaded."""

    def validate(self, outputs: BatchOutputs) -> dict[str, Tensor]:
        """Values on a batch of validation images, by name: sums over its images. Their means are reported."""
        raise NotImplementedError

    def regressor_of(self, link: Link) -> Regressor | None:
        """The regressor of a pair of layers; None if the term has none."""
        return None

    def head_name(self, kind: str, link: Link | None = None) -> str:
        """The name of a head: its kind, with the names of the pair and of the term if they are not the only ones."""
        own = self.name if self.name not in _PLAIN_NAMES else ""
        return "_".join(filter(None, (kind, link.name if link else "", own)))


_PLAIN_NAMES = ("hint", "label_hint")
"""terms whose heads are called by their kind alone, as in earlier versions"""


@dataclass_transform(kw_only_default=True, field_specifiers=(field, bounded))
def loss(cls: type[T]) -> type[T]:
    """Make an option of a subclass of `Loss`: a dataclass with keyword arguments."""
    return dataclass(kw_only=True)(cls)


@loss
class Loss:
    """The options of a term, which the keys of `method.stages.STAGE.terms.NAME` fill.

    reads_teacher: whether the term compares with the teacher.
    at: `pairs`: at the pairs of `hint_layer`; `guided`: at its guided layers; None: at the logits or at layers that do
        not depend on `hint_layer`.
    smooths_labels: whether `schedule.STAGE.label_smoothing` applies to it.
    needs_one_class: whether an image must be of one class, or be itself alone, which mixed images are not.
    compares_images: whether it compares the images of a batch, so that it is no mean over them.
    has_eq_2: whether it has the temperature and the lambda of `schedule.kd`; only methods with equal ones are compared.
    position: the losses are added in the order of this number, then of the terms' names."""

    reads_teacher: ClassVar[bool] = True
    smooths_labels: ClassVar[bool] = False
    needs_one_class: ClassVar[bool] = False
    compares_images: ClassVar[bool] = False
    has_eq_2: ClassVar[bool] = False
    at: ClassVar[Literal["pairs", "guided"] | None] = None
    position: ClassVar[int] = 2

    weight: float | Ramp = bounded(AT_LEAST_0, default=1.0)
    """factor on the loss; 0 leaves the term out"""

    @property
    def kind(self) -> str:
        """The name of the loss: that of its module."""
        return type(self).__module__.rpartition(".")[2]

    def build(self, site: Site) -> Term:
        """Build the term, with the initial weights of its heads. Raises ConfigError if it does not fit the networks."""
        raise NotImplementedError

    def determined_by(self, config: Config) -> list[Any]:
        """Everything outside of these options and of the two networks that determines the term, for hashes."""
        return []

    def problems(self, key: str, config: Config) -> Iterator[str]:
        """Yield a line for each rule that these options break in a configuration. key: dotted key of the term"""
        return iter(())


# --- losses on logits ---


@loss
class LogitLoss(Loss):
    """A loss that compares the student's logits with the teacher's."""

    def build(self, site: Site) -> Term:
        return LogitTerm(self, site)

    def compare(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, the mean over the images.

        student, teacher: logits in fp32, (N, classes).
        labels: class indices, (N,)."""
        raise NotImplementedError

    def describe(self) -> str:
        """Describe the loss in words."""
        raise NotImplementedError


class LogitTerm(Term):
    """The term of a `LogitLoss`."""

    teacher_layers = (LOGITS,)

    def __init__(self, option: LogitLoss, site: Site):
        super().__init__(site.name, site.settings.epochs, option.weight)
        self.option, self.compares_images = option, option.compares_images

    def loss(self, outputs: BatchOutputs) -> Tensor:
        assert outputs.logits is not None
        return self.option.compare(as_float32(outputs.logits), as_float32(outputs.teacher[LOGITS]), outputs.labels)

    def describe(self) -> str:
        return self.option.describe()


# --- losses on features ---


@loss
class FeatureLoss(Loss):
    """A loss that compares features of the student with features of the teacher, at each pair of layers."""

    at: ClassVar[Literal["pairs", "guided"] | None] = "pairs"

    def build(self, site: Site) -> Term:
        return FeatureTerm(self, site, site.links())

    def head(self, site: Site, link: Link) -> nn.Module | None:
        """A new head through which the student's features go before they are compared; None if none is needed."""
        return None

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one pair of layers, the mean over the images.

        student: features in fp32, those of the head if there is one, (N, ...).
        teacher: features in fp32, (N, ...)."""
        raise NotImplementedError

    def describe(self) -> str:
        """Describe the loss in words."""
        raise NotImplementedError

    def determined_by(self, config: Config) -> list[Any]:
        return [[link.name, link.hint, link.guided, link.weight] for link in hint_pair.links(config)]


@loss
class RelationLoss(FeatureLoss):
    """A loss that compares relations between the images of a batch, and so takes features of any two shapes."""

    compares_images: ClassVar[bool] = True

    layers: Literal["last", "pairs"] = "last"
    """last: the last hidden layers of both networks; pairs: the pairs of `hint_layer`"""

    @property
    def at(self) -> Literal["pairs", "guided"] | None:  # type: ignore[override]
        return "pairs" if self.layers == "pairs" else None

    def build(self, site: Site) -> Term:
        return FeatureTerm(self, site, site.links() if self.layers == "pairs" else [site.last_link()])

    def determined_by(self, config: Config) -> list[Any]:
        return super().determined_by(config) if self.layers == "pairs" else []


class FeatureTerm(Term):
    """The term of a `FeatureLoss`: the sum over the pairs, each with its weight."""

    def __init__(self, option: FeatureLoss, site: Site, links: Sequence[Link]):
        super().__init__(site.name, site.settings.epochs, option.weight)
        self.option, self.compares_images = option, option.compares_images
        self.links = [link for link in links if link.weight != 0]
        self.student_layers = tuple(dict.fromkeys(link.guided for link in self.links))
        self.teacher_layers = tuple(dict.fromkeys(link.hint for link in self.links))
        self.head_of: dict[str, nn.Module] = {}
        for link in self.links:
            head = option.head(site, link)
            if head is not None:
                self.head_of[link.name] = head
                self.heads[self.head_name(str(head.kind), link)] = head

    def loss(self, outputs: BatchOutputs) -> Tensor:
        total: Tensor | None = None
        for link in self.links:
            student, teacher = outputs.features[link.guided], outputs.teacher[link.hint]
            if link.name in self.head_of:
                with outputs.arithmetic():
                    student = self.head_of[link.name](student)
            value = self.pair_loss(link, as_float32(student), as_float32(teacher))
            weighted = value if link.weight == 1 else link.weight * value
            total = weighted if total is None else total + weighted
        assert total is not None
        return total

    def pair_loss(self, link: Link, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one pair of layers, without the pair's weight. Arguments: those of `FeatureLoss.compare`."""
        return self.option.compare(student, teacher)

    def regressor_of(self, link: Link) -> Regressor | None:
        head = self.head_of.get(link.name)
        return head if isinstance(head, Regressor) else None

    def describe(self) -> str:
        pairs = ", ".join(f"{link.guided} with {link.hint}" for link in self.links)
        return f"{self.option.describe()} ({pairs})"
