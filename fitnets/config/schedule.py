"""Hyperparameters of all stages: initial weights, optimisers, lengths, losses."""

from dataclasses import field
from typing import Literal, TypeAlias

from fitnets.config.data import Augmentation
from fitnets.config.options import (
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    POSITIVE,
    Bounds,
    added,
    bounded,
    neutral,
    option,
    renamed,
)


@option
class UniformInit:
    """Weights from U(-bound, bound), biases 0. The paper uses it; deep networks often fail to train from it."""

    name: Literal["uniform"] = neutral(default="uniform")
    bound: float = bounded(AT_LEAST_0)


@option
class VarianceInit:
    """Normal weights that keep the second moment of the signal through ReLU (He et al., 2015) and through maxout of any
    number of pieces, biases 0."""

    name: Literal["variance"] = neutral(default="variance")


@option
class OrthogonalInit:
    """Weights whose rows are orthonormal, or their columns where there are more rows than columns (Saxe et al., 2014),
    times the factor by which `VarianceInit` keeps the second moment of the signal; biases 0."""

    name: Literal["orthogonal"] = neutral(default="orthogonal")


@option
class LsuvInit:
    """Layer-sequential unit variance (Mishkin and Matas, 2016): orthonormal weights. Then, layer by layer, the weights
    are divided by the standard deviation of the layer's linear output on one batch of training images. Biases 0."""

    name: Literal["lsuv"] = neutral(default="lsuv")
    images: int = bounded(AT_LEAST_1, default=256)
    """size of that batch, which is drawn with the student's seed and not augmented"""


Init: TypeAlias = UniformInit | VarianceInit | OrthogonalInit
StudentInit: TypeAlias = Init | LsuvInit


@option
class RmsProp:
    """w -= lr * g / max(sqrt(ms), floor), with ms = decay * ms + (1 - decay) * g^2. The floor is a lower bound of the
    divisor; it is not added."""

    name: Literal["rmsprop"] = neutral(default="rmsprop")
    lr: float = bounded(POSITIVE)
    decay: float = bounded(FRACTION, default=0.9)
    floor: float = bounded(POSITIVE, default=1e-5)


@option
class Sgd:
    """SGD whose momentum grows linearly from `momentum` to `momentum_end` over `momentum_epochs` epochs. Biases do not
    decay."""

    name: Literal["sgd"] = neutral(default="sgd")
    lr: float = bounded(POSITIVE)
    momentum: float = bounded(FRACTION)
    momentum_end: float = bounded(FRACTION)
    momentum_epochs: int = bounded(AT_LEAST_1)
    nesterov: bool = added(default=False)
    """Nesterov's momentum; the momentum must then be above 0"""
    weight_decay: float = added(default=0.0, bounds=AT_LEAST_0)
    """factor on the weights that is added to their gradients"""
    bias_lr_scale: float = added(default=1.0, bounds=POSITIVE)
    """factor on the learning rate of biases, those of batch normalisation included"""


@option
class AdamW:
    name: Literal["adamw"] = neutral(default="adamw")
    lr: float = bounded(POSITIVE)
    weight_decay: float = bounded(AT_LEAST_0)


Optimizer: TypeAlias = RmsProp | Sgd | AdamW


@option
class ConstantLr:
    name: Literal["constant"] = neutral(default="constant")


@option
class LinearLr:
    """The factor on the learning rate falls linearly from 1 to `final_factor` over `epochs` epochs, then stays."""

    name: Literal["linear"] = neutral(default="linear")
    final_factor: float = renamed("end", bounds=FRACTION)
    epochs: int = bounded(AT_LEAST_1)


@option
class ExponentialLr:
    """The learning rate is divided by `divisor` after each update, down to `minimum`."""

    name: Literal["exponential"] = neutral(default="exponential")
    divisor: float = bounded(AT_LEAST_1)
    minimum: float = bounded(AT_LEAST_0)


@option
class CosineLr:
    """The learning rate grows linearly for `warmup` epochs, then falls along half a cosine to 0 at the stage's last
    update."""

    name: Literal["cosine"] = neutral(default="cosine")
    warmup: float = bounded(AT_LEAST_0)


@option
class TriangularLr:
    """The learning rate grows linearly for a share of the stage's updates, then falls linearly to 0 at the last one."""

    name: Literal["triangular"] = neutral(default="triangular")
    warmup: float = bounded(Bounds(0, 0.9))
    """that share of the updates"""


LrDecay: TypeAlias = ConstantLr | LinearLr | ExponentialLr | CosineLr | TriangularLr


@option
class Dropout:
    """Probabilities of dropping a value. Kept hidden values are scaled up by 1 / (1 - hidden); kept inputs are not
    scaled, as in the maxout recipes."""

    input: float = bounded(Bounds(0, 0.99), default=0.0)
    hidden: float = bounded(Bounds(0, 0.99), default=0.0)


@option(stored_as="Stage")
class StageSettings:
    """Settings of one stage of training. Keys of `lr_scale` and `max_norm` are the name of a layer (`conv1`) or its
    kind (`conv`, `dense`, `softmax`, `regressor`); an entry for the name overrides one for the kind. A layer without an
    entry has scale 1 and no bound."""

    epochs: int = bounded(AT_LEAST_1)
    """largest number of epochs"""
    max_steps: int | None = bounded(AT_LEAST_1, default=None)
    """largest number of updates, for a short trial; it can cut the last epoch short. None: no bound"""
    stop_after: int | None = added(default=None, bounds=AT_LEAST_1)
    """epochs after which the stage ends, although its learning rate and weights are planned for `epochs`; such a run is
    marked `stopped_early`. `fitnets.STOP` sets it. None: the stage runs as planned"""
    patience: int | None = bounded(AT_LEAST_1)
    """epochs without a better validation value before the stage stops; None: never"""
    batch_size: int = bounded(AT_LEAST_1)
    optimizer: Optimizer
    lr_decay: LrDecay
    lr_scale: dict[str, float] = bounded(AT_LEAST_0, default_factory=dict)
    """factor on the learning rate of weights and biases, by layer"""
    max_norm: dict[str, float] = bounded(POSITIVE, default_factory=dict)
    """bound on the L2 norm of each filter (of each linear piece), by layer, enforced after every update"""
    max_grad_norm: float | None = added(default=None, bounds=POSITIVE)
    """largest L2 norm of an update's gradients, all parameters taken together; longer gradients are scaled down to it.
    None: no bound"""
    label_smoothing: float = added(default=0.0, bounds=Bounds(0, 0.99))
    """share of each label that is spread evenly over all classes, in the cross-entropy with the labels alone"""
    averaged_epochs: int = added(default=0, bounds=AT_LEAST_0)
    """number of epochs, counted from the end of the stage, whose final weights are averaged. In these epochs the mean
    so far is validated, and kept if it is the best, in place of the weights themselves; training goes on from the
    weights. A stage that ends before these epochs averages nothing. 0: no averaging"""
    dropout: Dropout = field(default_factory=Dropout)
    augmentation: Augmentation = field(default_factory=Augmentation)


@option
class Distillation:
    """Eq. 2 of the paper: H(y, P_S) + lambda * H(P_T^tau, P_S^tau), with lambda linear between two epochs."""

    temperature: float = bounded(POSITIVE)
    weight: float = bounded(AT_LEAST_0)
    """lambda at the start"""
    weight_end: float = bounded(AT_LEAST_0)
    """lambda at the end"""
    start_epoch: int = bounded(AT_LEAST_0)
    """last epoch with lambda = weight; epochs count from 0"""
    end_epoch: int | None = bounded(AT_LEAST_1)
    """first epoch with lambda = weight_end; None: the stage's last epoch"""
    soften_student: bool
    """False: the student's term stays at temperature 1, which is the effect of the released code"""


@option
class Schedule:
    """Hyperparameters of all stages. A section that the method does not use has no effect on the run's hash."""

    name: str = neutral()
    teacher_init: Init
    student_init: StudentInit
    regressor_init: Init
    teacher: StageSettings
    hint: StageSettings
    """stage 1"""
    student: StageSettings
    """stage 2, or the only stage"""
    kd: Distillation
    hint_loss: Literal["sum", "released"]
    """`sum`: Eq. 3, summed over channels and positions; `released`: the released code's H/2 x mean squared error"""
    equal_epochs: bool
    """give methods of one stage the epochs of the hint stage too, so that all methods have equal totals"""
    views: int | None = added(default=None, bounds=AT_LEAST_1)
    """number of different crops of an image that a stage of the student sees before they repeat, if engine.views=auto.
    None: they do not repeat"""
    retrain_teacher: bool
    """afterwards train the teacher from scratch on training and validation images, for the number of epochs at its best
    validation value"""
    retrain_student: bool
    """afterwards train the student likewise, in each of its stages"""
