"""A run that is ready to train: its data are loaded, its networks built, its stages set up and its hashes computed."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fitnets.config import (
    Config,
    CustomStudent,
    CustomTeacher,
    EarlierRunTeacher,
    LsuvInit,
    NoTeacher,
    Precision,
    PretrainedTeacher,
    RunTeacher,
)
from fitnets.config.seeds import seed_of
from fitnets.data import class_names, preprocessing, splits
from fitnets.data.augmentation import Views
from fitnets.data.class_names import ClassNames
from fitnets.data.splits import Data
from fitnets.data.unread import has_test
from fitnets.errors import ConfigError
from fitnets.machine import devices
from fitnets.models import build, teachers, unit_variance
from fitnets.models.layers import Regressor
from fitnets.models.network import Network, freeze, place, place_like
from fitnets.models.whitening import WHITENED_IMAGES, WhiteningLayer
from fitnets.parallel import group
from fitnets.planning.identity import Hashes, hashes, student_seed
from fitnets.progress import Progress
from fitnets.store import digests, directories, earlier_runs, files, layout, weights
from fitnets.store.layout import StoreLayout
from fitnets.training import methods
from fitnets.training.cache_plan import CachePlan, plan_cache
from fitnets.training.logit_codes import LogitCode
from fitnets.training.stages import Stage
from fitnets.training.teacher_cache import TeacherCache

_CPU = torch.device("cpu")
_MOST_TABLES = 16
"""A stage whose crops never repeat caches at most this many tables, one an epoch. Longer stages run the teacher at
every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a run needs before it trains, and where its artifacts lie in the store.

    device: where networks and images are
    precision: concrete precision, never `auto`
    class_names: class names of the data set
    teacher: None for teacher=none
    teacher_stage: the teacher's training; None for a teacher that needs none
    stages: the student's stages, in order
    hashes: the names of the artifacts' folders"""

    config: Config
    device: torch.device
    precision: Precision
    data: Data
    class_names: ClassNames
    teacher: Network | None
    student: Network
    teacher_stage: Stage | None
    stages: list[Stage]
    hashes: Hashes

    @property
    def teacher_directory(self) -> Path:
        assert self.hashes.teacher is not None
        return StoreLayout(self.config.root).teacher(self.hashes.teacher)

    @property
    def hint_directory(self) -> Path | None:
        """The folder of the student after stage 1; None for methods of one stage."""
        return None if self.hashes.hint is None else self.config.root / "hint" / self.hashes.hint

    @property
    def run_directory(self) -> Path:
        return StoreLayout(self.config.root).run(self.hashes.run)

    @property
    def teacher_is_trained(self) -> bool:
        return self.teacher_stage is None or self.teacher_directory.exists()

    @property
    def hint_is_trained(self) -> bool:
        return self.hint_directory is not None and self.hint_directory.exists() and not self.config.rerun

    @property
    def run_is_finished(self) -> bool:
        """Return whether the store has the finished run; always False with rerun=true. Raises DamagedError for a
        result.json that cannot be read, unless rerun=true."""
        return not self.config.rerun and directories.is_finished(self.run_directory)

    @property
    def teacher_weights_bytes(self) -> int:
        """Size of the teacher's weight file; for an ensemble the sum over its members."""
        assert self.teacher is not None
        if isinstance(self.config.teacher, EarlierRunTeacher):
            return teachers.weights_bytes(self.config.teacher)
        if isinstance(self.config.teacher, CustomTeacher):
            return digests.bytes_of_state(self.teacher)
        return (self.teacher_directory / layout.TEACHER_WEIGHTS).stat().st_size

    @property
    def regressors(self) -> list[Regressor]:
        """The regressors of all stages, each of which connects a hint layer and a guided layer."""
        terms = [term for stage in self.stages for term in stage.terms]
        found = [term.regressor_of(link) for term in terms for link in term.links]
        return [regressor for regressor in found if regressor is not None]

    def fresh_student(self) -> tuple[Network, list[Stage]]:
        """A student with its initial weights again, and its stages, for retraining."""
        student, stages = new_student(self.config, self.teacher, self.device, self.precision)
        _adapt(student, self.config, self.data)
        return student, stages

    def load_teacher(self) -> None:
        """Load trained weights into the teacher if needed, and freeze it. Raises DamagedError if that fails."""
        if self.teacher is None:
            return
        if self.teacher_stage is not None:
            with files.advise_removal(self.teacher_directory):
                weights.read_weights(self.teacher_directory / layout.TEACHER_WEIGHTS, self.teacher)
        freeze(self.teacher)

    def teacher_cache(self, progress: Progress) -> TeacherCache:
        """The cache of the teacher's outputs. The teacher must have its trained weights."""
        assert self.teacher is not None
        assert self.hashes.teacher is not None
        return TeacherCache(self.config.root, self.teacher, self.hashes.teacher, progress, group.current())

    def views(self, stage: Stage) -> Views:
        """The augmented versions of the training images that a stage sees. The teacher's own training never repeats a
        crop."""
        count = None if stage is self.teacher_stage else methods.view_count(self.config)
        return self.data.views(stage.settings.augmentation, count)

    def cache_plan(self, stage: Stage, data: Data) -> CachePlan | None:
        """The teacher outputs that a stage needs and how they are cached; None if it needs no teacher."""
        if stage.teacher is None:
            return None
        engine = self.config.engine
        return plan_cache(
            stage.teacher_layers,
            stage.teacher,
            stage.settings,
            data,
            views=self.views(stage),
            max_tables=0 if engine.views == "fresh" else _MOST_TABLES,
            budget_bytes=1e9 * engine.hint_cache_gb,
            code=LogitCode(engine.cached_logits),
        )


def prepare(config: Config, progress: Progress, data: Data | None = None) -> Plan:
    """Load the data, build the networks and stages, compute the hashes.

    data: images to use in place of the data set's, which is then not read; None loads the data set

    Raises ConfigError for everything that can be checked before training: shapes, layers, classes, batch sizes, data,
    device."""
    device = devices.set_up_device(config.engine)
    precision = devices.precision(config, device)
    teacher = None if isinstance(config.teacher, NoTeacher) else place(new_teacher(config), device, precision)
    is_trained = teacher is not None and not isinstance(config.teacher, PretrainedTeacher)
    teacher_stage = methods.teacher_stage(config, teacher) if is_trained and teacher else None
    student, student_stages = new_student(config, teacher, device, precision)
    if data is None:
        directories.check_writable(config.root)
        splits.check_files(config.dataset, config.root, progress, test=has_test(config))
        names = class_names.of_data(config.dataset)
        _check_member_classes(config, names)
        data = splits.load(config.dataset, config.root, device, progress, keep=config.engine.data)
        _check_fitted(config, data.digest)
    else:
        names = ClassNames(None)
    if teacher is not None:
        teacher.set_preprocessing(config.dataset.preprocessing, data.fitted)
    if teacher_stage is not None:
        fit_whitening(teacher_stage.network, data)
    _adapt(student, config, data)
    for stage in student_stages:
        stage.begin(data.train)
    _check_batches([*([teacher_stage] if teacher_stage else []), *student_stages], len(data.train))
    return Plan(
        config=config,
        device=device,
        precision=precision,
        data=data,
        class_names=names,
        teacher=teacher,
        student=student,
        teacher_stage=teacher_stage,
        stages=student_stages,
        hashes=hashes(config, data.digest, precision),
    )


def new_teacher(config: Config) -> Network:
    """Build the teacher. A teacher that will be trained gets weights drawn from its seed, on the CPU, so that every
    device starts from the same numbers; a ready one keeps its own."""
    teacher = teachers.build_teacher(config)
    if not isinstance(config.teacher, PretrainedTeacher | NoTeacher):
        build.initialise(teacher, config.schedule.teacher_init, seed_of("teacher weights", config.teacher.seed))
    return teacher


def new_student(
    config: Config, teacher: Network | None, device: torch.device = _CPU, precision: Precision = "fp32"
) -> tuple[Network, list[Stage]]:
    """Build the student with its initial weights, and its stages. The student is placed like the teacher, on the same
    device and in the same precision.

    teacher: None for teacher=none
    device, precision: where the student is placed if there is no teacher"""
    student = build.network(config.student, config.dataset, "student")
    build.initialise(student, config.schedule.student_init, student_seed(config))
    student = place(student, device, precision) if teacher is None else place_like(teacher, student)
    return student, methods.stages(config, teacher, student)


def fit_whitening(teacher: Network, data: Data) -> None:
    """Fit the first layer of a teacher to the training images, if it whitens them."""
    first = next(iter(teacher.layers.values()), None)
    if isinstance(first, WhiteningLayer):
        first.fit(data.train.images[data.train.rows[:WHITENED_IMAGES]])


def _adapt(student: Network, config: Config, data: Data) -> None:
    """Give a student what it needs of the data before training: their preprocessing, and the scale of its initial
    weights if that depends on images."""
    student.set_preprocessing(config.dataset.preprocessing, data.fitted)
    init = config.schedule.student_init
    if isinstance(init, LsuvInit) and not isinstance(config.student, CustomStudent):
        order = torch.Generator().manual_seed(seed_of("images of unit variance", config.seed))
        places = torch.randperm(len(data.train), generator=order)[: init.images]
        unit_variance.scale(student, data.train.images[data.train.rows[places.to(data.train.rows.device)]])


def _check_batches(stages: list[Stage], images: int) -> None:
    processes = group.current().size
    problems = [
        f"schedule.{stage.name}.batch_size={stage.settings.batch_size} is more than the {images} training images: "
        f"give at most {images}"
        for stage in stages
        if stage.settings.batch_size > images
    ]
    problems += [
        f"schedule.{stage.name}.batch_size={stage.settings.batch_size} is less than the {processes} processes: give at "
        f"least {processes}"
        for stage in stages
        if stage.settings.batch_size < processes
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _check_member_classes(config: Config, names: ClassNames) -> None:
    """Raise ConfigError if a stored teacher was trained on other classes than the data have, or on the same classes in
    another order. If the data do not name their classes, the members of an ensemble are compared with each other."""
    if not isinstance(config.teacher, EarlierRunTeacher):
        return
    expected, owner = names.names, f"dataset={config.dataset.name}"
    for path, member in earlier_runs.members(config.teacher).items():
        theirs = class_names.of_network(member).names
        if theirs is None:
            continue
        if expected is None:
            expected, owner = theirs, f"the network of {path}"
        elif not class_names.are_equal(theirs, expected):
            key = f"teacher.path={path}" if isinstance(config.teacher, RunTeacher) else f"teacher.members: {path}"
            raise ConfigError(
                f"{key}: that network was trained on the classes {class_names.listed(theirs)}, and {owner} has "
                f"{class_names.listed(expected)}: give a teacher that was trained on the same classes in the same order"
            )


def _check_fitted(config: Config, digest: str) -> None:
    """Raise ConfigError if the data are not those on which a stored teacher's preprocessing was fitted: preprocessing
    fitted on other images would give the teacher other inputs than it was trained on."""
    if not isinstance(config.teacher, EarlierRunTeacher) or not preprocessing.is_fitted(config.dataset.preprocessing):
        return
    for path, member in earlier_runs.members(config.teacher).items():
        theirs = member.data_digest()
        if theirs != digest:
            raise ConfigError(
                f"teacher {path}: its preprocessing was fitted on other images than those of "
                f"dataset={config.dataset.name}: give the same data, or dataset/preprocessing=scale for both"
            )
