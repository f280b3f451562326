"""With which numbers: initial weights, optimisers, the length of each stage."""

from dataclasses import field
from typing import Literal, TypeAlias

from fitnets.config.data import Augmentation
from fitnets.config.options import added, neutral, option


@option
class UniformInit:
    """Weights from U(-bound, bound), biases 0: the paper's, and fragile in deep nets."""

    name: Literal["uniform"] = neutral(default="uniform")
    bound: float


@option
class VarianceInit:
    """Normal weights that keep the second moment through ReLU (He et al., 2015) and through maxout of any number of
    pieces, biases 0."""

    name: Literal["variance"] = neutral(default="variance")


Init: TypeAlias = UniformInit | VarianceInit


@option
class RmsProp:
    """w -= lr * g / max(sqrt(ms), floor), ms = decay * ms + (1 - decay) * g^2: the floor is not added."""

    name: Literal["rmsprop"] = neutral(default="rmsprop")
    lr: float
    decay: float = 0.9
    floor: float = 1e-5


@option
class Sgd:
    """Momentum grows linearly from `momentum` to `momentum_end` over `momentum_epochs` epochs."""

    name: Literal["sgd"] = neutral(default="sgd")
    lr: float
    momentum: float
    momentum_end: float
    momentum_epochs: int


@option
class AdamW:
    name: Literal["adamw"] = neutral(default="adamw")
    lr: float
    weight_decay: float


Optimizer: TypeAlias = RmsProp | Sgd | AdamW


@option
class ConstantLr:
    name: Literal["constant"] = neutral(default="constant")


@option
class LinearLr:
    """The factor on the learning rate falls linearly from 1 to `end` over `epochs` epochs, then stays."""

    name: Literal["linear"] = neutral(default="linear")
    end: float
    epochs: int


@option
class ExponentialLr:
    """The learning rate is divided by `divisor` after each update, down to `minimum`."""

    name: Literal["exponential"] = neutral(default="exponential")
    divisor: float
    minimum: float


@option
class CosineLr:
    """`warmup` epochs of linear growth, then half a cosine down to 0 at the stage's last step."""

    name: Literal["cosine"] = neutral(default="cosine")
    warmup: float


LrDecay: TypeAlias = ConstantLr | LinearLr | ExponentialLr | CosineLr


@option
class Dropout:
    """Probabilities of dropping a value. Kept inputs are not scaled up (as in the maxout recipes), kept hidden values
    are, by 1 / (1 - hidden)."""

    input: float = 0.0
    hidden: float = 0.0


@option(stored_as="Stage")
class StageSettings:
    """How one network is trained. `lr_scale` and `max_norm` are keyed by a layer's name (`conv1`) or its kind (`conv`,
    `dense`, `softmax`, `regressor`); the name wins. A layer without an entry has scale 1 and no bound."""

    epochs: int
    """at most this many"""
    max_steps: int | None = None
    """at most this many updates, for a short trial; the last epoch is then cut short. None: no bound"""
    patience: int | None
    """epochs without a better validation value before the stage stops; None: never"""
    batch_size: int
    optimizer: Optimizer
    lr_decay: LrDecay
    lr_scale: dict[str, float] = field(default_factory=dict)
    """factor on the learning rate of weights and biases"""
    max_norm: dict[str, float] = field(default_factory=dict)
    """bound on the L2 norm of each filter (of each linear piece), enforced after every update"""
    max_grad_norm: float | None = added(default=None)
    """longer gradients of an update (all parameters taken together) are scaled down to this L2 norm; None: no bound"""
    dropout: Dropout = field(default_factory=Dropout)
    augmentation: Augmentation = field(default_factory=Augmentation)


@option
class Distillation:
    """Eq. 2 of the paper: H(y, P_S) + lambda * H(P_T^tau, P_S^tau), lambda linear between two epochs."""

    temperature: float
    weight: float
    """lambda at the start"""
    weight_end: float
    """lambda at the end"""
    start_epoch: int
    """last epoch with lambda = weight; epochs count from 0"""
    end_epoch: int | None
    """first epoch with lambda = weight_end; None: the stage's last epoch"""
    soften_student: bool
    """False: the student's term stays at temperature 1, as the released code does in effect"""


@option
class Schedule:
    """With which numbers. A section that the method does not use has no effect on the run's hash."""

    name: str = neutral()
    teacher_init: Init
    student_init: Init
    regressor_init: Init
    teacher: StageSettings
    hint: StageSettings
    """stage 1"""
    student: StageSettings
    """stage 2, or the only one"""
    kd: Distillation
    hint_loss: Literal["sum", "released"]
    """`sum`: Eq. 3, summed over channels and positions; `released`: the released code's H/2 x mean squared error"""
    equal_epochs: bool
    """methods of one stage also get the epochs of the hint stage: equal totals for all methods"""
    retrain_teacher: bool
    """train the teacher afresh on training and validation images, for as many epochs as its best one needed"""
    retrain_student: bool
    """the same for the student, in each of its stages"""
