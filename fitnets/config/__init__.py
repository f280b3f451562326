"""The typed configuration: names, types and defaults. Values are in `conf/`, composition in `compose.py`.

Every class marked `@option` is known to Hydra by its name (`/hydra/fitnets/<Name>`). Where a key can hold options of
several types, `name` shows which one it is. Composed objects are plain dataclasses, not changed after `rules.check`.
"""

from dataclasses import field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fitnets.config.data import (
    Augmentation,
    Dataset,
    Digits,
    Folder,
    HubImages,
    LocalContrast,
    Preprocessing,
    Scale,
    Standardize,
    Whiten,
    image_shape,
)
from fitnets.config.methods import Backprop, DeeplySupervised, Distill, Hints, Joint, LabelHints, Method, Mimic
from fitnets.config.networks import (
    Architecture,
    AutoRegressor,
    ConvRegressor,
    CustomNet,
    CustomStudent,
    CustomTeacher,
    EarlierRunTeacher,
    Ensemble,
    FcRegressor,
    FitNet,
    GroupedFitNet,
    HintLayer,
    IdentityRegressor,
    MaxoutConv,
    MaxoutDense,
    MaxoutTeacher,
    MiddlePair,
    NamedPair,
    NoPair,
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
    Student,
    Table6,
    Teacher,
    Thin,
    Wrn,
    WrnTeacher,
)
from fitnets.config.options import added, location, neutral, option
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
    Optimizer,
    RmsProp,
    Schedule,
    Sgd,
    StageSettings,
    UniformInit,
    VarianceInit,
)
from fitnets.paths import expanded

Precision: TypeAlias = Literal["fp32", "bf16"]


@option
class Engine:
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """of convolutions and products (losses, weights and the optimiser stay in fp32); auto: bf16 where the hardware
    multiplies it faster, the teacher is large enough to gain from that, and no weights begin uniform: the paper's tiny
    ones make features that differ from image to image by less than bf16 can tell. What it comes to is part of a run's
    hash"""
    views: int | Literal["auto", "fresh"] = "auto"
    """different crops of an image that a stage of the student sees before they come again, so that the teacher's
    answers to them are computed once (flips, and images as they are, need no bound); a bound that a stage reaches is
    part of its hash. auto: they never come again, and the answers are computed once where a stage has at most 16
    epochs; fresh: nor then"""
    hint_cache_gb: float = 4.0
    """the most that the hint maps of a stage may take on the disk (and on a GPU in its memory), in GB; where they take
    more, the teacher is run up to the hint layer at every step"""
    threads: int | None
    """CPU threads; None: as many as PyTorch takes"""
    eval_batch_size: int
    checkpoint_seconds: float
    """between two checkpoints inside an epoch; at the end of an epoch there is one more, at most once a second"""
    elsewhere: Literal["refuse", "begin_anew"] = "refuse"
    """what to do with a stage that was begun on another device or with other threads: it would end differently"""


@option
class Wandb:
    name: Literal["wandb"] = neutral(default="wandb")
    project: str | None
    """None: WANDB_PROJECT, else fitnets"""
    entity: str | None
    """None: WANDB_ENTITY, else the user's"""
    group: str | None
    """None: the study's name, else WANDB_RUN_GROUP"""
    tags: list[str]
    """none: WANDB_TAGS"""
    mode: Literal["online", "offline", "disabled"] | None
    """None: WANDB_MODE, else offline"""
    artifact: bool = added(default=False)
    """log the finished student too: weights, configuration, result"""


@option
class NoTracker:
    name: Literal["none"] = neutral(default="none")


Tracker: TypeAlias = Wandb | NoTracker


@option
class Sweep:
    """What a job of a sweep is."""

    seeds: int = 1
    """runs of a trial, with `seed`, `seed` + 1, ...: its objective is their mean"""
    budgets: dict[str, float] = field(default_factory=dict)
    """bounds on costs (`parameters`, `multiplications`, `paper_...`, and `relative_...` to the teacher): a student over
    one is not trained"""


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
    """of the student: initialisation, order of the images, dropout"""
    store: str = location(default="outputs")
    """root of everything that is written"""
    rerun: bool = neutral(default=False)
    """train the student again, stage 1 included, although the run is finished"""
    test: bool = neutral(default=True)
    """evaluate on the test split once, at the end"""
    returns: Any = neutral(default=None)
    """measure, or list of measures, that a sweeper of Hydra other than `study` and `basic` is given"""

    @property
    def root(self) -> Path:
        """of the store"""
        return expanded(self.store)
