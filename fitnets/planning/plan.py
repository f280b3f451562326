"""A configuration made ready: data loaded, networks built, stages laid out, hashes known; nothing trained yet."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fitnets.config import Config, CustomTeacher, EarlierRunTeacher, NoTeacher, Precision, PretrainedTeacher, RunTeacher
from fitnets.config.seeds import seed_of
from fitnets.data import class_names, preprocessing, splits
from fitnets.data.augmentation import Views
from fitnets.data.class_names import ClassNames
from fitnets.data.splits import Data
from fitnets.data.test_split import has_test
from fitnets.errors import ConfigError
from fitnets.machine import devices
from fitnets.models import build, teachers
from fitnets.models.network import Network, freeze, place, place_like
from fitnets.planning.identity import Hashes, _student_seed, hashes
from fitnets.progress import Progress
from fitnets.store import digests, directories, earlier_runs, files, layout, weights
from fitnets.store.layout import StoreLayout
from fitnets.training import methods
from fitnets.training.loss_terms import HintTerm
from fitnets.training.stages import HintStage, TrainingStage, WholeNetworkStage, label_stage
from fitnets.training.teacher_cache import CachePlan, TeacherCache, plan_cache

_CPU = torch.device("cpu")
_MOST_TABLES = 16
"""of a stage whose views never come again; longer ones run the teacher at every step"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do. class_names: of the data set; teacher: None for teacher=none; teacher_stage: None where no
    teacher is trained; stages: the student's, in order."""

    config: Config
    device: torch.device
    precision: Precision
    data: Data
    class_names: ClassNames
    teacher: Network | None
    student: Network
    teacher_stage: WholeNetworkStage | None
    stages: list[TrainingStage]
    hashes: Hashes

    @property
    def teacher_directory(self) -> Path:
        assert self.hashes.teacher is not None
        return StoreLayout(self.config.root).teacher(self.hashes.teacher)

    @property
    def hint_directory(self) -> Path | None:
        """Of stage 1; None for methods of one stage."""
        return None if self.hashes.hint is None else StoreLayout(self.config.root).hint(self.hashes.hint)

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
        """Raises DamagedError where its result cannot be read; with rerun=true nobody reads it."""
        return not self.config.rerun and directories.is_finished(self.run_directory)

    @property
    def teacher_weights_bytes(self) -> int:
        """Size of the teacher's weight file or files."""
        assert self.teacher is not None
        if isinstance(self.config.teacher, EarlierRunTeacher):
            return teachers.weights_bytes(self.config.teacher)
        if isinstance(self.config.teacher, CustomTeacher):
            return digests.bytes_of_state(self.teacher)
        return (self.teacher_directory / layout.TEACHER_WEIGHTS).stat().st_size

    @property
    def hint(self) -> HintStage | HintTerm | None:
        """What links the hint layer to the guided layer, in a method with hints."""
        parts = [part for stage in self.stages for part in getattr(stage, "terms", [stage])]
        return next((part for part in parts if isinstance(part, HintStage | HintTerm)), None)

    def load_teacher(self) -> None:
        """Have the teacher as it answers: with the weights of its training, frozen. Raises DamagedError."""
        if self.teacher is None:
            return
        if self.teacher_stage is not None:
            with files.made_again(self.teacher_directory):
                weights.read_weights(self.teacher_directory / layout.TEACHER_WEIGHTS, self.teacher)
        freeze(self.teacher)

    def teacher_cache(self, progress: Progress) -> TeacherCache:
        """Of the teacher's answers, once its weights are there."""
        assert self.teacher is not None
        assert self.hashes.teacher is not None
        return TeacherCache(self.config.root, self.teacher, self.hashes.teacher, progress)

    def views(self, stage: TrainingStage) -> Views:
        """How a stage sees the training images. Those of a teacher that is trained never come again."""
        count = None if stage is self.teacher_stage else methods.view_count(self.config)
        return self.data.views(stage.settings.augmentation, count)

    def cache_plan(self, stage: TrainingStage, data: Data) -> CachePlan | None:
        """What a stage wants of the teacher; None: nothing."""
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
        )


def prepare(config: Config, progress: Progress, instead: Data | None = None) -> Plan:
    """Raises ConfigError for everything that can be known before training: shapes, layers, data, device.

    instead: images in the place of the data set's, which is then not looked at."""
    device = devices.set_up_device(config.engine)
    precision = devices.precision(config, device)
    teacher = None if isinstance(config.teacher, NoTeacher) else place(new_teacher(config), device, precision)
    is_trained = teacher is not None and not isinstance(config.teacher, PretrainedTeacher)
    teacher_stage = label_stage("teacher", teacher, config.schedule.teacher) if is_trained and teacher else None
    student, student_stages = new_student(config, teacher, device, precision)
    if instead is None:
        directories.check_writable(config.root)
        splits.check_files(config.dataset, config.root, progress, test=has_test(config))
        names = class_names.of_data(config.dataset)
        _check_member_classes(config, names)
        found = splits.load(config.dataset, config.root, device, progress)
    else:
        names, found = ClassNames(None), instead
    for network in filter(None, (teacher, student)):
        network.set_preprocessing(config.dataset.preprocessing, found.fitted)
    _check_batches([*([teacher_stage] if teacher_stage else []), *student_stages], len(found.train))
    if instead is None:
        _check_fitted(config, found.digest)
    return Plan(
        config=config,
        device=device,
        precision=precision,
        data=found,
        class_names=names,
        teacher=teacher,
        student=student,
        teacher_stage=teacher_stage,
        stages=student_stages,
        hashes=hashes(config, found.digest, precision),
    )


def new_teacher(config: Config) -> Network:
    """The teacher with its initial weights, or with those that it has. On the CPU, as its seed's numbers are."""
    teacher = teachers.network(config)
    if not isinstance(config.teacher, PretrainedTeacher | NoTeacher):
        build.initialise(teacher, config.schedule.teacher_init, seed_of("teacher weights", config.teacher.seed))
    return teacher


def new_student(
    config: Config, teacher: Network | None, device: torch.device = _CPU, precision: Precision = "fp32"
) -> tuple[Network, list[TrainingStage]]:
    """The student with its initial weights, where and as the teacher is, and its stages.

    teacher: None for teacher=none; the student is then on the device, in the precision."""
    student = build.network(config.student, config.dataset, "student")
    build.initialise(student, config.schedule.student_init, _student_seed(config))
    student = place(student, device, precision) if teacher is None else place_like(teacher, student)
    return student, methods.stages(config, teacher, student)


def _check_batches(objectives: list[TrainingStage], images: int) -> None:
    too_large = [
        f"schedule.{stage.name}.batch_size={stage.settings.batch_size} is more than the {images} training images: "
        f"give at most {images}"
        for stage in objectives
        if stage.settings.batch_size > images
    ]
    if too_large:
        raise ConfigError("\n".join(too_large))


def _check_member_classes(config: Config, names: ClassNames) -> None:
    """Raises ConfigError where a stored teacher was trained on other classes than the data have, or on the same in
    another order; where those of the data are unknown, on others than another member."""
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
    """Preprocessing that was fitted on other images gives other inputs: no stored teacher understands them."""
    if not isinstance(config.teacher, EarlierRunTeacher) or not preprocessing.is_fitted(config.dataset.preprocessing):
        return
    for path, member in earlier_runs.members(config.teacher).items():
        theirs = member.data_digest()
        if theirs != digest:
            raise ConfigError(
                f"teacher {path}: its preprocessing was fitted on other images than those of "
                f"dataset={config.dataset.name}: give the same data, or dataset/preprocessing=scale for both"
            )
