"""How long the runs of a table take: here, from a few measured updates; on a GPU that is not here, by arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fitnets.config import Config, image_shape
from fitnets.console.terminal import Terminal
from fitnets.data import random_images
from fitnets.data.splits import Data
from fitnets.machine import devices
from fitnets.models import costs
from fitnets.planning import estimates
from fitnets.planning.estimates import Rough
from fitnets.planning.plan import Plan, prepare
from fitnets.reproduction.table_cells import TableCell, planned_digest
from fitnets.training.stages import HintStage, LabelHintStage, TrainingStage

GPU = "one H200"
_GPU_RATES = {"fp32": 67e12, "bf16": 989e12}
"""its data sheet's operations a second, dense"""
_GPU_SHARE = 1 / 3
_LAUNCHES_S = 0.005
"""of an update: a few hundred kernels of about 10 microseconds"""
ASSUMED = (
    f"{GPU} (computed, not measured: {1000 * _LAUNCHES_S:g} ms of launches an update and a third of the data sheet's "
    "rate in the precision that is taken here; the teacher's answers left out)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTime:
    """Of the runs of a cell that are not finished, in seconds; what an earlier cell trains too is counted there.
    runs_left: how many; here_s: on this machine; gpu_s: on `GPU`."""

    cell: TableCell
    runs_left: int
    here_s: float
    gpu_s: float


def of_cells(cells: Sequence[TableCell], terminal: Terminal, *, decode: bool = True) -> list[CellTime]:
    """Measured on the first unfinished run of each candidate: its other seeds take as long. Those of teachers last,
    whose runs are mostly those of a student.

    decode: False measures on a few random images instead of the data set's, in seconds"""
    counted: set[str] = set()
    rough = None if decode else Rough()
    students_first = sorted(cells, key=lambda cell: cell.row.side == "teacher")
    return [_of_cell(cell, counted, terminal, rough) for cell in terminal.track(students_first, "measuring")]


def _of_cell(cell: TableCell, counted: set[str], terminal: Terminal, rough: Rough | None) -> CellTime:
    """counted: hashes of what is counted already; grows."""
    runs_left, here_s, gpu_s = 0, 0.0, 0.0
    budget_s = estimates.QUICK_S if rough is None else estimates.ONCE_S
    for candidate in cell.candidates:
        left = [run for run in candidate.runs if not run.is_settled and run.hash not in counted]
        counted |= {run.hash for run in left}
        runs_left += len(left)
        if not left:
            continue
        with_stage_1 = replace(left[0].config, rerun=True)  # whether this seed has it already or not
        prepared = prepare(with_stage_1, terminal, None if rough is None else _imagined(with_stage_1))
        if prepared.hashes.teacher in counted:
            prepared = replace(prepared, teacher_stage=None)
        if prepared.hashes.hint in counted:  # the methods of a row's neighbours may share stage 1
            prepared = replace(prepared, stages=[stage for stage in prepared.stages if stage.name != "hint"])
        counted |= {*filter(None, [prepared.hashes.teacher, prepared.hashes.hint])}
        on_gpu = {stage.name: _gpu_s(prepared, stage) for stage in _to_train(prepared)}
        for stage in estimates.stages(prepared, budget_s, rough=rough):
            times = 1 if stage.name == "teacher" else len(left)
            here_s += times * stage.total_s
            gpu_s += times * on_gpu[stage.name]
    return CellTime(cell=cell, runs_left=runs_left, here_s=here_s, gpu_s=gpu_s)


def _imagined(config: Config) -> Data | None:
    digest = planned_digest(config)
    return None if digest is None else random_images.load(config.dataset, digest, devices.set_up_device(config.engine))


def _to_train(plan: Plan) -> list[TrainingStage]:
    return [*([plan.teacher_stage] if plan.teacher_stage is not None else []), *plan.stages]


def _gpu_s(plan: Plan, stage: TrainingStage) -> float:
    """At the stage's full length. Forward and backward pass are three forward passes; the teacher's answers, tables or
    not, are left out."""
    settings, schedule, data = stage.settings, plan.config.schedule, plan.data
    steps = float(settings.epochs * (len(data.train) // settings.batch_size))
    if settings.max_steps is not None:
        steps = min(steps, settings.max_steps)
    is_teacher = stage is plan.teacher_stage
    if schedule.retrain_teacher if is_teacher else schedule.retrain_student:
        steps *= 2 + len(data.valid) / len(data.train)
    operations = 2 * 3 * settings.batch_size * _multiplications(plan, stage)
    return steps * (_LAUNCHES_S + operations / (_GPU_SHARE * _GPU_RATES[plan.precision]))


def _multiplications(plan: Plan, stage: TrainingStage) -> int:
    """Of an image, as far as the stage trains."""
    dataset = plan.config.dataset
    shape = image_shape(dataset)
    if isinstance(stage, HintStage | LabelHintStage):
        return costs.multiplications_up_to(stage.network, shape)[stage.guided_layer]
    return costs.cost(stage.network, shape).multiplications
