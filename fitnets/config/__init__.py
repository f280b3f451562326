"""The typed configuration: names, types, bounds and defaults of all keys. `conf/` holds their values.

Every class marked `@option` is registered with Hydra as `/hydra/fitnets/<Name>`. If a key can hold options of several
types, `name` shows which one it is. `fitnets.composition` makes plain dataclasses from Hydra's tree; nothing changes
them after `fitnets.checks.check`.
"""

from pathlib import Path
from typing import Any, Literal, TypeAlias

from fitnets.config.data import (
    Augmentation,
    Dataset,
    Digits,
    Folder,
    HubImages,
    Interpolation,
    LocalContrast,
    OwnImages,
    Photos,
    Preprocessing,
    Scale,
    Standardize,
    Whiten,
    image_shape,
)
from fitnets.config.methods import Method, MethodStage, Ramp
from fitnets.config.networks import (
    Architecture,
    AutoRegressor,
    ConvRegressor,
    CustomNet,
    CustomStudent,
    CustomTeacher,
    EarlierRunTeacher,
    Ensemble,
    FastTeacher,
    FcRegressor,
    FitNet,
    GroupedFitNet,
    HintLayer,
    IdentityRegressor,
    LayerPair,
    LibraryStudent,
    LibraryTeacher,
    MaxoutConv,
    MaxoutDense,
    MaxoutTeacher,
    MiddlePair,
    NamedPair,
    NoPair,
    NormalizableStudent,
    NoTeacher,
    PaperPair,
    PointwiseRegressor,
    PretrainedTeacher,
    Regressor,
    ReluConv,
    ReluFitNet,
    ReluTeacher,
    Resnet,
    ResnetTeacher,
    RunTeacher,
    SeveralPairs,
    Student,
    Table6,
    Teacher,
    Thin,
    Wrn,
    WrnTeacher,
)
from fitnets.config.options import AT_LEAST_0, AT_LEAST_1, POSITIVE, added, bounded, location, neutral, option, renamed
from fitnets.config.schedule import (
    AdamW,
    ConstantLr,
    CosineLr,
    Distillation,
    Dropout,
    ExponentialLr,
    Init,
    LinearLr,
    LrDecay,
    LsuvInit,
    Optimizer,
    OrthogonalInit,
    RmsProp,
    Schedule,
    Sgd,
    StageSettings,
    StudentInit,
    TriangularLr,
    UniformInit,
    VarianceInit,
)
from fitnets.paths import expanded

Precision: TypeAlias = Literal["fp32", "bf16"]


@option
class Engine:
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """precision of convolutions and matrix products; losses, weights and the optimiser stay in fp32. auto: bf16 if the
    hardware multiplies faster in it, the teacher is large enough to gain from bf16, and no initial weights are uniform.
    (The paper's tiny uniform weights make features that differ between images by less than bf16 resolves.) The
    resulting precision is part of a run's hash"""
    views: int | Literal["auto", "fresh"] = bounded(AT_LEAST_1, default="auto")
    """number of different crops of an image that a stage of the student sees before they repeat. Teacher outputs for
    repeated crops are computed once and cached; flips and unchanged images are always cached. A number that a stage
    reaches is part of the stage's hash. auto: the number of `schedule.views`; where that is null crops never repeat,
    and are cached if a stage has at most 16 epochs. fresh: crops never repeat and are never cached"""
    hint_cache_gb: float = bounded(AT_LEAST_0, default=4.0)
    """largest size of a stage's cached hint maps on the disk (and in the memory of a GPU), in GB. If they need more,
    the teacher runs up to the hint layer at every step instead"""
    cached_logits: int | Literal["exact", "half"] = bounded(AT_LEAST_1, default="exact")
    """what is cached of the teacher's logits for a training image. exact: all in fp32; half: all in fp16; a number: so
    many of the largest in fp16, and the others with equal shares of what is left. It is for many classes: 1000 classes
    in 16 views of a million images take 64 GB in fp32, and 1.3 GB for the 20 largest. Other values than exact are part
    of the hash"""
    threads: int | None = bounded(AT_LEAST_1)
    """CPU threads; None: PyTorch's default"""
    eval_batch_size: int = bounded(AT_LEAST_1)
    checkpoint_seconds: float = bounded(POSITIVE)
    """seconds between two checkpoints inside an epoch. The end of an epoch writes one more, at most once a second"""
    data: Literal["auto", "device", "stream"] = "auto"
    """where the training images are during training. device: in the memory of the device (on a CPU mapped from their
    file); stream: threads read the images of the next batches from the file; auto: stream if the images would take more
    than half of the memory that is left. The result has the same bits"""
    kernels: Literal["auto", "off"] = "auto"
    """loops for maxout on CPUs that are compiled by the machine's C compiler when they are first needed, and kept in
    the user's cache folder. auto: used if there is a compiler; off: PyTorch's own operations. Without normalisation
    both give the same bits"""
    on_other_machine: Literal["refuse", "restart"] = renamed(
        "elsewhere", default="refuse", former_values={"begin_anew": "restart"}
    )
    """what happens to an unfinished stage that was begun on another device or with another number of threads, and that
    would therefore end differently. refuse: stop with an error; restart: train the stage from its start"""


@option
class Wandb:
    name: Literal["wandb"] = neutral(default="wandb")
    project: str | None
    """None: the environment variable WANDB_PROJECT, else fitnets"""
    entity: str | None
    """None: WANDB_ENTITY, else the user's default"""
    group: str | None
    """None: the study's name, else WANDB_RUN_GROUP"""
    tags: list[str]
    """an empty list: WANDB_TAGS"""
    mode: Literal["online", "offline", "disabled"] | None
    """None: WANDB_MODE, else offline"""
    artifact: bool = added(default=False)
    """also log the finished student: weights, configuration, result"""


@option
class TensorBoard:
    """Event files for TensorBoard in the run's folder."""

    name: Literal["tensorboard"] = neutral(default="tensorboard")


@option
class NoTracker:
    name: Literal["none"] = neutral(default="none")


Tracker: TypeAlias = Wandb | TensorBoard | NoTracker


@option
class Sweep:
    """Settings of one job of a sweep."""

    seeds: int = bounded(AT_LEAST_1, default=1)
    """number of runs of a trial, with `seed`, `seed` + 1, ...; the objective is their mean"""
    budgets: dict[str, float] = bounded(POSITIVE, default_factory=dict)
    """largest cost by name: `parameters`, `multiplications`, `paper_...`, or `relative_...` to the teacher. A student
    that exceeds one of them is not trained"""


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
    sweep: Sweep = neutral(default_factory=Sweep)
    seed: int = 0
    """seed of the student: initial weights, order of the images, dropout"""
    store: str = location(default="outputs")
    """root folder of everything that is written"""
    rerun: bool = neutral(default=False)
    """train the student again, stage 1 included, although the run is finished"""
    test: bool = neutral(default=True)
    """evaluate on the test split once, at the end"""
    return_measures: Any = neutral(default=None, former="returns")
    """measure, or list of measures, that is returned to Hydra's other sweepers; `study` and `basic` get all measures"""

    @property
    def root(self) -> Path:
        """Path of the store."""
        return expanded(self.store)
