"""A configuration made ready: data loaded, networks built, stages laid out, hashes known; nothing trained yet."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fitnets import build, data, engine, store
from fitnets.config import Backprop, Config, Distill, Hints, Stage
from fitnets.networks import Network, freeze
from fitnets.objectives import DistillObjective, HintObjective, LabelObjective, Objective
from fitnets.options import ConfigError, content_hash
from fitnets.rules import hint_pair
from fitnets.seeds import seed_of

PRECISION = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do. `stages`: the student's, in order."""

    config: Config
    device: torch.device
    data: data.Data
    teacher: Network
    student: Network
    teacher_stage: LabelObjective
    stages: list[Objective]
    teacher_hash: str
    run_hash: str

    @property
    def root(self) -> Path:
        return Path(self.config.store).expanduser()

    @property
    def teacher_directory(self) -> Path:
        return self.root / "teacher" / self.teacher_hash

    @property
    def run_directory(self) -> Path:
        return self.root / "run" / self.run_hash

    @property
    def teacher_is_trained(self) -> bool:
        return self.teacher_directory.exists()

    def estimate_s(self) -> float:
        """About how many seconds the training will take here, if no stage stops early: a few steps are measured."""
        pending: list[Objective] = [*([] if self.teacher_is_trained else [self.teacher_stage]), *self.stages]
        return sum(self._stage_s(objective) for objective in pending)

    def _stage_s(self, objective: Objective) -> float:
        trial = copy.deepcopy(objective)
        if isinstance(trial, HintObjective | DistillObjective):
            freeze(trial.teacher)
        per_image_s = engine.seconds_per_image(trial, self.data.train)
        images = len(self.data.train) + len(self.data.valid) / 3  # validation is the forward third of a step
        return objective.stage.epochs * images * per_image_s


def prepare(config: Config, track: data.Track) -> Plan:
    """Raises ConfigError for everything that can be known before training: shapes, layers, data, device."""
    device = engine.device(config.engine)
    teacher, student = (build.network(net, config.dataset) for net in (config.teacher, config.student))
    build.initialise(teacher, config.schedule.teacher_init, seed_of("teacher weights", config.teacher.seed))
    build.initialise(student, config.schedule.student_init, seed_of("student weights", config.seed))
    teacher, student = teacher.to(device), student.to(device)
    teacher_stage = LabelObjective("teacher", teacher, config.schedule.teacher)
    student_stages = stages(config, teacher, student)
    root = Path(config.store).expanduser()
    store.check_writable(root)
    data.check_files(config.dataset, test=config.test)
    found = data.load(config.dataset, root, device, track)
    _check_batches([teacher_stage, *student_stages], len(found.train))
    teacher_hash, run_hash = hashes(config, found.digest)
    return Plan(
        config=config,
        device=device,
        data=found,
        teacher=teacher,
        student=student,
        teacher_stage=teacher_stage,
        stages=student_stages,
        teacher_hash=teacher_hash,
        run_hash=run_hash,
    )


def student_stage(config: Config) -> Stage:
    """Stage 2; for methods without stage 1, with its epochs added where the schedule wants equal totals."""
    stage = config.schedule.student
    if isinstance(config.method, Hints) or not config.schedule.equal_epochs:
        return stage
    return replace(stage, epochs=stage.epochs + config.schedule.hint.epochs)


def stages(config: Config, teacher: Network, student: Network) -> list[Objective]:
    """The student's stages, in order."""
    stage = student_stage(config)
    match config.method:
        case Backprop():
            return [LabelObjective("student", student, stage)]
        case Distill():
            return [DistillObjective(student, teacher, config.schedule.kd, stage)]
        case Hints():
            return [
                _hint_objective(config, teacher, student),
                DistillObjective(student, teacher, config.schedule.kd, stage),
            ]


def _hint_objective(config: Config, teacher: Network, student: Network) -> HintObjective:
    pair = hint_pair(config)
    assert pair is not None, "rules.check lets no hints pass without a pair"
    hint_layer, guided_layer = pair
    regressor = build.regressor(config.regressor, student.named(guided_layer), teacher.named(hint_layer))
    build.initialise(regressor, config.schedule.regressor_init, seed_of("regressor weights", config.seed))
    return HintObjective(
        network=student,
        teacher=teacher,
        regressor=regressor.to(next(student.parameters()).device),
        hint_layer=hint_layer,
        guided_layer=guided_layer,
        stage=config.schedule.hint,
        reduction=config.schedule.hint_loss,
    )


def _check_batches(objectives: list[Objective], images: int) -> None:
    too_large = [
        f"schedule.{objective.name}.batch_size={objective.stage.batch_size} is more than the {images} training images: "
        f"give at most {images}"
        for objective in objectives
        if objective.stage.batch_size > images
    ]
    if too_large:
        raise ConfigError("\n".join(too_large))


def hashes(config: Config, digest: str) -> tuple[str, str]:
    """(of the teacher, of the run): content hashes of exactly what determines each. digest: of the data."""
    schedule = config.schedule
    teacher = content_hash(
        "teacher", PRECISION, digest, config.dataset, config.teacher, schedule.teacher_init, schedule.teacher
    )
    parts: list[Any] = [
        teacher,
        config.method,
        config.student,
        schedule.student_init,
        student_stage(config),
        config.seed,
    ]
    if not isinstance(config.method, Backprop):
        parts.append(schedule.kd)
    if isinstance(config.method, Hints):
        parts += [hint_pair(config), config.regressor, schedule.regressor_init, schedule.hint, schedule.hint_loss]
    return teacher, content_hash("run", *parts)


def setting_hash(config: Config, digest: str) -> str:
    """Of everything but method and the seeds of teacher and student: runs that agree in it may be compared."""
    same_seeds = replace(config, method=Hints(), seed=0, teacher=replace(config.teacher, seed=0))
    return content_hash("setting", digest, same_seeds)
