"""The content hashes of a run: they hash everything that determines a result, and nothing else.

A teacher, a stage 1 and a run are each stored in a folder named by their hash. A later command that would give the same
result computes the same hash, finds the folder and trains nothing. Paths, the device, W&B and everything else that
changes no result stay out of every hash.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from fitnets.config import (
    Config,
    CustomStudent,
    NormalizableStudent,
    NoTeacher,
    Precision,
    PretrainedTeacher,
    Regressor,
    Student,
    UniformInit,
)
from fitnets.config.methods import STAGES, StageName
from fitnets.config.options import content_hash
from fitnets.config.seeds import seed_of
from fitnets.models import hint_pair, layer_pairs, teachers
from fitnets.models.custom import wrapping
from fitnets.planning import former_methods
from fitnets.terms import registry
from fitnets.training import methods


class Hashes(NamedTuple):
    """One hash for each artifact of a run.

    teacher: hash of the trained teacher; None for teacher=none
    hint: hash of the student after stage 1; None for methods without stage 1
    run: hash of the whole run"""

    teacher: str | None
    hint: str | None
    run: str


def student_seed(config: Config) -> int:
    """The seed of the student's initial weights."""
    return seed_of("student weights", config.seed)


def hashes(config: Config, digest: str, precision: Precision) -> Hashes:
    """Hash what determines the teacher, stage 1 and the run of a configuration.

    The hashes form a chain, because each artifact depends on the one before it:
    - teacher: images, preprocessing, precision, and the teacher's networks and training
    - hint: the teacher's hash, and what stage 1 trains
    - run: the hashes of teacher and stage 1, and what trains the student

    A stored teacher is hashed by its weights, a trained one by its options and schedule. teacher=none still gets a
    hash of data and precision as the first link of the chain.

    digest: content hash of the training and validation images
    precision: concrete precision, never `auto`"""
    schedule = config.schedule
    if isinstance(config.teacher, NoTeacher):
        teacher_parts = []
    elif isinstance(config.teacher, PretrainedTeacher):
        teacher_parts = teachers.identity(config, config.teacher)
    else:
        teacher_parts = [config.teacher, schedule.teacher_init, schedule.teacher, schedule.retrain_teacher]
    kind = "teacher" if teacher_parts else "no teacher"
    teacher = content_hash(kind, precision, digest, config.dataset, *teacher_parts)
    hint = content_hash("hint", teacher, *_hint_parts(config)) if methods.is_staged(config.method) else None
    run = content_hash("run", teacher, hint, *_student_parts(config))
    return Hashes(teacher if teacher_parts else None, hint, run)


def _hint_parts(config: Config) -> list[Any]:
    """Everything but the teacher that determines stage 1."""
    stage = config.schedule.hint
    parts: list[Any] = [config.student, config.schedule.student_init, stage, config.seed]
    rest = [*_custom_student(config), *methods.repeated_views(config, stage)]
    if former_methods.has_hint_stage(config):
        return [*parts, *_pair_parts(config), *rest, config.schedule.hint_loss]
    if former_methods.has_label_stage(config):
        return [*parts, *hint_pair.guided_layers(config), *rest]
    return [*parts, _terms(config, "hint"), hint_pair.guided_layers(config), *rest]


def _student_parts(config: Config) -> list[Any]:
    """Everything but the teacher and stage 1 that determines the student. Sections of the schedule that the method does
    not use are left out, so that changing them causes no new training."""
    schedule, former = config.schedule, former_methods.option_of(config)
    method = _terms(config, "student") if former is None else former
    parts: list[Any] = [method, config.student, schedule.student_init, methods.student_stage(config), config.seed]
    parts += [*_custom_student(config), *methods.repeated_views(config, methods.student_stage(config))]
    parts += [*methods.rounded_logits(config), schedule.retrain_student]
    return parts if former is None else [*parts, *_former_link_parts(config, former)]


def _terms(config: Config, stage: StageName) -> list[Any]:
    """Everything that determines the loss terms of a stage, in an order that does not depend on that in which they were
    given."""
    options = registry.options(config.method, stage)
    return [[name, one.kind, one, *one.determined_by(config)] for name, one in options.items()]


def _custom_student(config: Config) -> list[Any]:
    """Digests of a custom student's source and initial weights, which its option only names; empty for built-in
    students."""
    student = config.student
    if not isinstance(student, CustomStudent):
        return []
    return wrapping.identity(student, config.dataset, "student", student_seed(config))


def _former_link_parts(config: Config, former: dict[str, Any]) -> list[Any]:
    """The settings of Eq. 2, and the layers and the regressor by which the guided layer learns, as earlier versions
    hashed them; only those that the method uses."""
    kd = [config.schedule.kd] if methods.uses_kd(config.method) else []
    return [*kd, *_former_pair_parts(config, former)]


def _former_pair_parts(config: Config, former: dict[str, Any]) -> list[Any]:
    match former["_type_"]:
        case "Hints" | "Joint":
            return _pair_parts(config)
        case "LabelHints":
            return hint_pair.guided_layers(config)
        case _:
            return []


def _pair_parts(config: Config) -> list[Any]:
    return [hint_pair.hint_pair(config), _regressor(config), config.schedule.regressor_init]


def _regressor(config: Config) -> Regressor:
    """The concrete regressor for the only pair of layers. `auto` hashes like the regressor that it picks."""
    (regressor,) = layer_pairs.resolved_regressors(config)
    return regressor


class ComparisonKeys(NamedTuple):
    """Hashes that determine which stored runs may be compared. The seeds of teacher and student are left out, so that
    runs that differ only in these seeds have equal keys.

    teacher_setting: data, and everything that makes the teacher but its seed; None for teacher=none
    setting: teacher_setting, and what all methods share: the student, its initialisation, stage 2 without its length
    student_setting: data, and what all methods share without the teacher, to compare with runs of other teachers
    bare_setting: student_setting without the student's initial weights and its normalisation, to compare those
    method: the method with the lengths of its stages, its pair of layers and its regressor
    kd: temperature and weight of Eq. 2; None for methods without it"""

    teacher_setting: str | None
    setting: str
    student_setting: str
    bare_setting: str
    method: str
    kd: str | None


def comparison_keys(config: Config, digest: str, precision: Precision) -> ComparisonKeys:
    """Hash what two runs must have in common to be compared.

    digest: content hash of the training and validation images
    precision: concrete precision; fp32 is not hashed"""
    schedule = config.schedule
    teacher_parts: list[Any] = []
    if isinstance(config.teacher, PretrainedTeacher):
        teacher_parts = teachers.identity(replace(config, seed=0), config.teacher)
    elif not isinstance(config.teacher, NoTeacher):
        training = [schedule.teacher_init, schedule.teacher, schedule.retrain_teacher]
        teacher_parts = [replace(config.teacher, seed=0), *training]
    data_parts = [digest, config.dataset]
    precision_parts = [] if precision == "fp32" else [precision]
    teacher_setting = content_hash("teacher setting", *data_parts, *teacher_parts, *precision_parts)
    stage_of_any_length = replace(schedule.student, epochs=1, max_steps=None, stop_after=None)
    kd = content_hash("kd", schedule.kd) if methods.uses_kd(config.method) else None
    student_parts: list[Any] = [stage_of_any_length, schedule.retrain_student]
    student_parts += [*_custom_student(replace(config, seed=0))]
    student_parts += methods.repeated_views(config, methods.student_stage(config))
    student_parts += methods.rounded_logits(config)
    shared: list[Any] = [config.student, schedule.student_init, *student_parts]
    bare: list[Any] = [without_normalization(config.student), *student_parts]
    method_parts = _method_parts(config, kd)
    return ComparisonKeys(
        teacher_setting=teacher_setting if teacher_parts else None,
        setting=content_hash("setting", teacher_setting, *shared),
        student_setting=content_hash("student setting", *data_parts, *precision_parts, *shared),
        bare_setting=content_hash("bare setting", *data_parts, *precision_parts, *bare),
        method=content_hash("method", *method_parts),
        kd=kd,
    )


def initial_weights(config: Config) -> str:
    """The rule of the student's initial weights, in a word or two: `lsuv`, or `uniform 0.005`. A custom student has its
    own weights, whatever the rule is."""
    if isinstance(config.student, CustomStudent):
        return "its own"
    init = config.schedule.student_init
    return f"{init.name} {init.bound:g}" if isinstance(init, UniformInit) else init.name


def normalization(student: Student) -> str:
    """The student's option `normalization`; `none` for networks without that option."""
    return student.normalization if isinstance(student, NormalizableStudent) else "none"


def without_normalization(student: Student) -> Student:
    """The student with the option `normalization` at `none`."""
    return replace(student, normalization="none") if isinstance(student, NormalizableStudent) else student


def _method_parts(config: Config, kd: str | None) -> list[Any]:
    """Everything that determines the method in a comparison."""
    schedule, former, student_stage = config.schedule, former_methods.option_of(config), methods.student_stage(config)
    lengths = [student_stage.epochs, student_stage.max_steps]
    lengths += [] if student_stage.stop_after is None else [student_stage.stop_after]
    is_staged = methods.is_staged(config.method)
    stage_1 = [schedule.hint, schedule.hint_loss, *methods.repeated_views(config, schedule.hint)]
    if former is not None:
        return [former, *lengths, kd, *_former_pair_parts(config, former), *(stage_1 if is_staged else [])]
    terms = {name: _terms(config, name) for name in STAGES if name in config.method.stages}
    guided = hint_pair.guided_layers(config) if is_staged else []
    return [terms, guided, *lengths, *([schedule.hint, *stage_1[2:]] if is_staged else [])]


def teacher_seed(config: Config) -> int | None:
    """The seed of the teacher's training; None if no teacher is trained."""
    return None if isinstance(config.teacher, PretrainedTeacher | NoTeacher) else config.teacher.seed
