"""A configuration made ready: data loaded, networks built, stages laid out, hashes known; nothing trained yet."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fitnets import build, class_names, custom, data, digests, engine, methods, preprocessing, store, stored, teachers
from fitnets.answers import Library, Need, needed
from fitnets.class_names import ClassNames
from fitnets.config import (
    Config,
    CustomStudent,
    CustomTeacher,
    EarlierRuns,
    Hints,
    Joint,
    LabelHints,
    NoTeacher,
    Precision,
    ReadyTeacher,
    Regressor,
    RunTeacher,
)
from fitnets.data import Data
from fitnets.labelled import Watcher
from fitnets.networks import Network, beside, freeze, placed
from fitnets.objectives import HintObjective, Objective, WholeObjective, label_objective
from fitnets.options import ConfigError, content_hash
from fitnets.rules import has_test, needed_guided, needed_pair
from fitnets.seeds import seed_of
from fitnets.terms import HintTerm
from fitnets.views import Views

_CPU = torch.device("cpu")
_MOST_TABLES = 16
"""of a stage whose views never come again; longer ones run the teacher at every step"""


class Hashes(NamedTuple):
    """Content hashes of exactly what determines each artifact. teacher: None for teacher=none; hint: None for methods
    without stage 1."""

    teacher: str | None
    hint: str | None
    run: str


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
    teacher_stage: WholeObjective | None
    stages: list[Objective]
    hashes: Hashes

    @property
    def teacher_directory(self) -> Path:
        assert self.hashes.teacher is not None
        return self.config.root / "teacher" / self.hashes.teacher

    @property
    def hint_directory(self) -> Path | None:
        """Of stage 1; None for methods of one stage."""
        return None if self.hashes.hint is None else self.config.root / "hint" / self.hashes.hint

    @property
    def run_directory(self) -> Path:
        return self.config.root / "run" / self.hashes.run

    @property
    def teacher_is_trained(self) -> bool:
        return self.teacher_stage is None or self.teacher_directory.exists()

    @property
    def hint_is_trained(self) -> bool:
        return self.hint_directory is not None and self.hint_directory.exists() and not self.config.rerun

    @property
    def run_is_finished(self) -> bool:
        """Raises DamagedError where its result cannot be read; with rerun=true nobody reads it."""
        return not self.config.rerun and store.is_finished(self.run_directory)

    @property
    def teacher_weights_bytes(self) -> int:
        """Size of the teacher's weight file or files."""
        assert self.teacher is not None
        if isinstance(self.config.teacher, EarlierRuns):
            return teachers.weights_bytes(self.config.teacher)
        if isinstance(self.config.teacher, CustomTeacher):
            return digests.bytes_of_state(self.teacher)
        return (self.teacher_directory / "teacher.safetensors").stat().st_size

    @property
    def hint(self) -> HintObjective | HintTerm | None:
        """What links the hint layer to the guided layer, in a method with hints."""
        parts = [part for stage in self.stages for part in getattr(stage, "terms", [stage])]
        return next((part for part in parts if isinstance(part, HintObjective | HintTerm)), None)

    def load_teacher(self) -> None:
        """Have the teacher as it answers: with the weights of its training, frozen. Raises DamagedError."""
        if self.teacher is None:
            return
        if self.teacher_stage is not None:
            with store.made_again(self.teacher_directory):
                store.read_weights(self.teacher_directory / "teacher.safetensors", self.teacher)
        freeze(self.teacher)

    def library(self, watcher: Watcher) -> Library:
        """Of the teacher's answers, once its weights are there."""
        assert self.teacher is not None
        assert self.hashes.teacher is not None
        return Library(self.config.root, self.teacher, self.hashes.teacher, watcher)

    def views(self, objective: Objective) -> Views:
        """How a stage sees the training images. Those of a teacher that is trained never come again."""
        count = None if objective is self.teacher_stage else methods.view_count(self.config)
        return self.data.views(objective.stage.augmentation, count)

    def need(self, objective: Objective, data: Data) -> Need | None:
        """What a stage wants of the teacher; None: nothing."""
        if objective.teacher is None:
            return None
        engine = self.config.engine
        return needed(
            objective.wants,
            objective.teacher,
            objective.stage,
            data,
            views=self.views(objective),
            most=0 if engine.views == "fresh" else _MOST_TABLES,
            budget_bytes=1e9 * engine.hint_cache_gb,
        )


def prepare(config: Config, watcher: Watcher, instead: Data | None = None) -> Plan:
    """Raises ConfigError for everything that can be known before training: shapes, layers, data, device.

    instead: images in the place of the data set's, which is then not looked at."""
    device = engine.device(config.engine)
    precision = engine.precision(config, device)
    teacher = None if isinstance(config.teacher, NoTeacher) else placed(new_teacher(config), device, precision)
    is_trained = teacher is not None and not isinstance(config.teacher, ReadyTeacher)
    teacher_stage = label_objective("teacher", teacher, config.schedule.teacher) if is_trained and teacher else None
    student, student_stages = new_student(config, teacher, device, precision)
    if instead is None:
        store.check_writable(config.root)
        data.check_files(config.dataset, config.root, watcher, test=has_test(config))
        names = class_names.of_data(config.dataset)
        _check_member_classes(config, names)
        found = data.load(config.dataset, config.root, device, watcher)
    else:
        names, found = ClassNames(None), instead
    for network in filter(None, (teacher, student)):
        network.sees(config.dataset.preprocessing, found.fitted)
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
    if not isinstance(config.teacher, ReadyTeacher | NoTeacher):
        build.initialise(teacher, config.schedule.teacher_init, seed_of("teacher weights", config.teacher.seed))
    return teacher


def new_student(
    config: Config, teacher: Network | None, device: torch.device = _CPU, precision: Precision = "fp32"
) -> tuple[Network, list[Objective]]:
    """The student with its initial weights, where and as the teacher is, and its stages.

    teacher: None for teacher=none; the student is then on the device, in the precision."""
    student = build.network(config.student, config.dataset, "student")
    build.initialise(student, config.schedule.student_init, _student_seed(config))
    student = placed(student, device, precision) if teacher is None else beside(teacher, student)
    return student, methods.stages(config, teacher, student)


def _student_seed(config: Config) -> int:
    return seed_of("student weights", config.seed)


def _check_batches(objectives: list[Objective], images: int) -> None:
    too_large = [
        f"schedule.{objective.name}.batch_size={objective.stage.batch_size} is more than the {images} training images: "
        f"give at most {images}"
        for objective in objectives
        if objective.stage.batch_size > images
    ]
    if too_large:
        raise ConfigError("\n".join(too_large))


def _check_member_classes(config: Config, names: ClassNames) -> None:
    """Raises ConfigError where a stored teacher was trained on other classes than the data have, or on the same in
    another order; where those of the data are unknown, on others than another member."""
    if not isinstance(config.teacher, EarlierRuns):
        return
    expected, owner = names.names, f"dataset={config.dataset.name}"
    for path, member in stored.members(config.teacher).items():
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
    if not isinstance(config.teacher, EarlierRuns) or not preprocessing.is_fitted(config.dataset.preprocessing):
        return
    for path, member in stored.members(config.teacher).items():
        theirs = member.data_digest()
        if theirs != digest:
            raise ConfigError(
                f"teacher {path}: its preprocessing was fitted on other images than those of "
                f"dataset={config.dataset.name}: give the same data, or dataset/preprocessing=scale for both"
            )


# --- identity ---


def hashes(config: Config, digest: str, precision: Precision) -> Hashes:
    """digest: of the data."""
    schedule = config.schedule
    if isinstance(config.teacher, NoTeacher):
        teacher_parts = []
    elif isinstance(config.teacher, ReadyTeacher):
        teacher_parts = teachers.identity(config, config.teacher)
    else:
        teacher_parts = [config.teacher, schedule.teacher_init, schedule.teacher, schedule.retrain_teacher]
    kind = "teacher" if teacher_parts else "no teacher"
    teacher = content_hash(kind, precision, digest, config.dataset, *teacher_parts)
    hint = content_hash("hint", teacher, *_hint_parts(config)) if methods.is_staged(config) else None
    run = content_hash("run", teacher, hint, *_student_parts(config))
    return Hashes(teacher if teacher_parts else None, hint, run)


def _hint_parts(config: Config) -> list[Any]:
    """What determines stage 1, given the teacher."""
    stage = config.schedule.hint
    parts: list[Any] = [config.student, config.schedule.student_init, stage, config.seed, *_link_parts(config)]
    parts += [*_custom_student(config), *methods.repeated_views(config, stage)]
    return [*parts, config.schedule.hint_loss] if isinstance(config.method, Hints) else parts


def _student_parts(config: Config) -> list[Any]:
    """What determines the student, given teacher and stage 1: sections of the schedule that the method does not use are
    not among it."""
    schedule, method = config.schedule, config.method
    parts: list[Any] = [method, config.student, schedule.student_init, methods.student_stage(config), config.seed]
    parts += [*_custom_student(config), *methods.repeated_views(config, methods.student_stage(config))]
    parts += [schedule.retrain_student, *([schedule.kd] if methods.uses_kd(method) else []), *_link_parts(config)]
    return parts


def _custom_student(config: Config) -> list[Any]:
    """What the option of a custom student leaves open."""
    student = config.student
    if not isinstance(student, CustomStudent):
        return []
    return custom.identity(student, config.dataset, "student", _student_seed(config))


def _link_parts(config: Config) -> list[Any]:
    """What determines how the guided layer is taught."""
    match config.method:
        case Hints() | Joint():
            return [needed_pair(config), _regressor(config), config.schedule.regressor_init]
        case LabelHints():
            return [needed_guided(config)]
        case _:
            return []


def _regressor(config: Config) -> Regressor:
    """What the choice comes to between these two layers: `auto` is the same as what it takes."""
    hint_layer, guided = needed_pair(config)
    architecture = stored.architecture(config.teacher)
    assert architecture is not None
    with torch.device("meta"):  # shapes alone
        teacher = build.network(architecture, config.dataset, "teacher")
        student = build.network(config.student, config.dataset, "student")
    return build.resolved_regressor(config.regressor, student.named(guided), teacher.named(hint_layer))


class Kinship(NamedTuple):
    """Hashes by which runs are compared.

    teacher_setting: the teacher but for its seed; None for teacher=none
    setting: what all methods have in common: that, the student, its initialisation, stage 2 but for its length
    student_setting: the same without the teacher
    method: the method's own part, with its lengths, pair and regressor
    kd: temperature and weight of Eq. 2; None without it"""

    teacher_setting: str | None
    setting: str
    student_setting: str
    method: str
    kd: str | None


def kinship(config: Config, digest: str, precision: Precision) -> Kinship:
    """digest: of the data."""
    schedule = config.schedule
    teacher_parts: list[Any] = []
    if isinstance(config.teacher, ReadyTeacher):
        teacher_parts = teachers.identity(replace(config, seed=0), config.teacher)
    elif not isinstance(config.teacher, NoTeacher):
        training = [schedule.teacher_init, schedule.teacher, schedule.retrain_teacher]
        teacher_parts = [replace(config.teacher, seed=0), *training]
    data_parts = [digest, config.dataset]
    in_precision = [] if precision == "fp32" else [precision]
    teacher_setting = content_hash("teacher setting", *data_parts, *teacher_parts, *in_precision)
    stage = replace(schedule.student, epochs=1, max_steps=None)
    shared: list[Any] = [config.student, schedule.student_init, stage, schedule.retrain_student]
    shared += _custom_student(replace(config, seed=0))
    kd = content_hash("kd", schedule.kd) if methods.uses_kd(config.method) else None
    length = methods.student_stage(config)
    shared += methods.repeated_views(config, length)
    own = [config.method, length.epochs, length.max_steps, kd, *_link_parts(config)]
    if methods.is_staged(config):
        own += [schedule.hint, schedule.hint_loss, *methods.repeated_views(config, schedule.hint)]
    return Kinship(
        teacher_setting=teacher_setting if teacher_parts else None,
        setting=content_hash("setting", teacher_setting, *shared),
        student_setting=content_hash("student setting", *data_parts, *in_precision, *shared),
        method=content_hash("method", *own),
        kd=kd,
    )


def teacher_seed(config: Config) -> int | None:
    """None where no teacher is trained."""
    return None if isinstance(config.teacher, ReadyTeacher | NoTeacher) else config.teacher.seed
