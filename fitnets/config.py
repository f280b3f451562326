"""The typed configuration: names, types and defaults. Values are in `conf/`, composition in `compose.py`.

Every class marked `@option` is known to Hydra by its name (`/hydra/fitnets/<Name>`). Where a key can hold options of
several types, `name` shows which one it is. Composed objects are plain dataclasses, not changed after `rules.check`.
"""

from dataclasses import field
from typing import ClassVar, Literal, TypeAlias

from fitnets.options import neutral, option

# --- dataset ---


@option
class Digits:
    """scikit-learn's bundled 8x8 digits: 1,797 real images, no download. Has no test split of its own: a fixed part of
    each class becomes the test split, whatever the seed."""

    name: str = neutral(default="digits")
    test: int
    """images of the test split, drawn evenly from the classes"""
    validation: int
    """images held out from the rest by class, drawn with `seed`"""
    pixel_max: float
    """raw pixel value that becomes 1.0"""
    seed: int = 0

    channels: ClassVar[int] = 1
    height: ClassVar[int] = 8
    width: ClassVar[int] = 8
    classes: ClassVar[int] = 10


@option
class HubImages:
    """Images and labels in the layout of the Hugging Face hub, from the hub or from a folder of local Parquet files."""

    name: str = neutral()
    hub: str = neutral()
    """repository on the hub"""
    revision: str = neutral()
    """commit, tag or branch of that repository"""
    path: str | None = neutral(default=None)
    """folder with `<split>-*.parquet`; None: download from the hub"""
    image_column: str = neutral()
    label_column: str = neutral()
    train_split: str = neutral()
    test_split: str = neutral()

    channels: int
    height: int
    width: int
    classes: int
    pixel_max: float
    """raw pixel value that becomes 1.0"""
    validation: int
    """images held out from train"""
    validation_rule: Literal["last", "by_class"]
    """`last`: the last rows, in file order, as in the maxout recipes; `by_class`: evenly by class, drawn with `seed`"""
    seed: int = 0


Dataset: TypeAlias = Digits | HubImages


# --- networks ---


@option
class MaxoutConv:
    """A maxout convolution, then max-pooling in ceil mode. Sizes in pixels."""

    units: int
    kernel: int
    pad: int = 0
    pieces: int = 2
    pool: int | None = None
    """window of the pooling; None: no pooling"""
    stride: int = 2
    """stride of the pooling"""


@option
class MaxoutDense:
    units: int
    pieces: int


@option
class MaxoutTeacher:
    """Maxout convolutions conv1, conv2, ..., maxout dense layers dense1, ..., and the softmax layer."""

    name: str = neutral()
    convs: list[MaxoutConv]
    dense: list[MaxoutDense] = field(default_factory=list)
    tied_biases: bool
    """one bias a channel; untied: one a channel and position"""
    hint: str = neutral()
    """the published hint layer, for `hint_layer=paper`: the pair is hashed, not where it comes from"""
    seed: int = 0


@option
class FitNet:
    """A student of the paper, built like a `MaxoutTeacher`."""

    name: str = neutral()
    convs: list[MaxoutConv]
    dense: list[MaxoutDense] = field(default_factory=list)
    tied_biases: bool
    guided: str = neutral()
    """the published guided layer, for `hint_layer=paper`"""


@option
class Thin:
    """The parametric family of thin deep students: `depth` 3x3 maxout convolutions in three groups of `width`,
    2 x `width` and 3 x `width` units; 2x2 pooling after the first two groups, pooling of the whole map (where it is
    square) after the last; softmax."""

    name: str = neutral(default="thin")
    depth: int
    width: int
    pieces: int = 2


Teacher: TypeAlias = MaxoutTeacher
Student: TypeAlias = FitNet | Thin
Net: TypeAlias = Teacher | Student


# --- hint layer, regressor, method ---


@option
class PaperPair:
    """The published pair of this teacher and this student."""

    name: Literal["paper"] = neutral(default="paper")


@option
class MiddlePair:
    """The middle convolution of the teacher and of the student."""

    name: Literal["middle"] = neutral(default="middle")


@option
class NamedPair:
    name: Literal["named"] = neutral(default="named")
    teacher: str
    student: str


@option
class NoPair:
    """For methods without hints."""

    name: Literal["none"] = neutral(default="none")


@option
class AutoRegressor:
    """From the two shapes: equal, identity (as the released code does); the student's map at least as large as the
    teacher's, the paper's valid convolution; otherwise fully connected."""

    name: Literal["auto"] = neutral(default="auto")


@option
class ConvRegressor:
    """Valid maxout convolution with kernel = guided size - hint size + 1 (section 2.2 of the paper)."""

    name: Literal["conv"] = neutral(default="conv")


@option
class FcRegressor:
    """Fully connected maxout regressor."""

    name: Literal["fc"] = neutral(default="fc")


@option
class IdentityRegressor:
    """No regressor: the shapes must be equal."""

    name: Literal["identity"] = neutral(default="identity")


HintLayer: TypeAlias = PaperPair | MiddlePair | NamedPair | NoPair
Regressor: TypeAlias = AutoRegressor | ConvRegressor | FcRegressor | IdentityRegressor


@option
class Hints:
    """The paper's two stages: hints up to the guided layer, then knowledge distillation of the whole student."""

    name: Literal["hints"] = neutral(default="hints")


@option
class Distill:
    """Knowledge distillation alone (stage 2 from a fresh student)."""

    name: Literal["kd"] = neutral(default="kd")


@option
class Backprop:
    """Cross-entropy with the labels alone: no teacher in training."""

    name: Literal["backprop"] = neutral(default="backprop")


Method: TypeAlias = Hints | Distill | Backprop


# --- schedule ---


@option
class UniformInit:
    """Weights from U(-bound, bound), biases 0: the paper's, and fragile in deep nets."""

    name: Literal["uniform"] = neutral(default="uniform")
    bound: float


@option
class VarianceInit:
    """Normal weights that keep the second moment through a maxout layer of any number of pieces, biases 0."""

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


@option
class Stage:
    """How one network is trained. `lr_scale` and `max_norm` are keyed by a layer's name (`conv1`) or its kind (`conv`,
    `dense`, `softmax`, `regressor`); the name wins. A layer without an entry has scale 1 and no bound."""

    epochs: int
    """at most this many"""
    patience: int | None
    """epochs without a better validation value before the stage stops; None: never"""
    batch_size: int
    optimizer: Optimizer
    lr_decay: LrDecay
    lr_scale: dict[str, float] = field(default_factory=dict)
    """factor on the learning rate of weights and biases"""
    max_norm: dict[str, float] = field(default_factory=dict)
    """bound on the L2 norm of each filter (of each linear piece), enforced after every update"""
    dropout: Dropout = field(default_factory=Dropout)


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
    teacher: Stage
    hint: Stage
    student: Stage
    kd: Distillation
    hint_loss: Literal["sum", "released"]
    """`sum`: Eq. 3, summed over channels and positions; `released`: the released code's H/2 x mean squared error"""
    equal_epochs: bool
    """kd and backprop also get the epochs of the hint stage: equal totals for all methods"""


# --- engine, tracker, the whole ---


@option
class Engine:
    device: Literal["auto", "cpu", "cuda"]
    threads: int | None
    """CPU threads; None: as many as PyTorch takes"""
    eval_batch_size: int


@option
class Wandb:
    name: Literal["wandb"] = neutral(default="wandb")
    project: str
    entity: str | None
    group: str | None
    tags: list[str]
    mode: Literal["online", "offline", "disabled"]


@option
class NoTracker:
    name: Literal["none"] = neutral(default="none")


Tracker: TypeAlias = Wandb | NoTracker


@option
class Config:
    dataset: Dataset
    teacher: Teacher
    student: Student
    hint_layer: HintLayer
    regressor: Regressor
    method: Method
    schedule: Schedule
    engine: Engine = neutral()
    tracker: Tracker = neutral()
    seed: int = 0
    """of the student: initialisation, order of the images, dropout"""
    store: str = neutral(default="outputs")
    """root of everything that is written"""
    test: bool = neutral(default=True)
    """evaluate on the test split once, at the end"""
