"""The hashes of a run: everything that determines a result, and nothing else.

A teacher, a first stage and a run are each stored under the hash of what determines them, and found by it again.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch

from fitnets.config import (
    Config,
    CustomStudent,
    Hints,
    Joint,
    LabelHints,
    NoTeacher,
    Precision,
    PretrainedTeacher,
    Regressor,
)
from fitnets.config.options import content_hash
from fitnets.config.seeds import seed_of
from fitnets.models import build, teachers
from fitnets.models.custom import wrapping
from fitnets.models.hint_pair import needed_guided, needed_pair
from fitnets.store import earlier_runs
from fitnets.training import methods


class Hashes(NamedTuple):
    """Content hashes of exactly what determines each artifact. teacher: None for teacher=none; hint: None for methods
    without stage 1."""

    teacher: str | None
    hint: str | None
    run: str


def _student_seed(config: Config) -> int:
    return seed_of("student weights", config.seed)


# --- identity ---


def hashes(config: Config, digest: str, precision: Precision) -> Hashes:
    """digest: of the data."""
    schedule = config.schedule
    if isinstance(config.teacher, NoTeacher):
        teacher_parts = []
    elif isinstance(config.teacher, PretrainedTeacher):
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
    return wrapping.identity(student, config.dataset, "student", _student_seed(config))


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
    architecture = earlier_runs.architecture(config.teacher)
    assert architecture is not None
    with torch.device("meta"):  # shapes alone
        teacher = build.network(architecture, config.dataset, "teacher")
        student = build.network(config.student, config.dataset, "student")
    return build.resolved_regressor(config.regressor, student.layer_output(guided), teacher.layer_output(hint_layer))


class ComparisonKeys(NamedTuple):
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


def comparison_keys(config: Config, digest: str, precision: Precision) -> ComparisonKeys:
    """digest: of the data."""
    schedule = config.schedule
    teacher_parts: list[Any] = []
    if isinstance(config.teacher, PretrainedTeacher):
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
    return ComparisonKeys(
        teacher_setting=teacher_setting if teacher_parts else None,
        setting=content_hash("setting", teacher_setting, *shared),
        student_setting=content_hash("student setting", *data_parts, *in_precision, *shared),
        method=content_hash("method", *own),
        kd=kd,
    )


def teacher_seed(config: Config) -> int | None:
    """None where no teacher is trained."""
    return None if isinstance(config.teacher, PretrainedTeacher | NoTeacher) else config.teacher.seed
