"""Estimates how long the runs of a table take: on this machine from a few timed updates, on a GPU by arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fitnets.config import Config, image_shape
from fitnets.console.terminal import Terminal
from fitnets.data import random_images
from fitnets.data.splits import Data
from fitnets.machine import devices
from fitnets.models import costs
from fitnets.planning import estimates
from fitnets.planning.estimates import RoughMeasurement
from fitnets.planning.plan import Plan, prepare
from fitnets.reproduction.table_cells import TableCell, planned_digest
from fitnets.training.stages import Stage

GPU = "one H200"
_GPU_RATES = {"fp32": 67e12, "bf16": 989e12}
"""dense operations per second of its data sheet, by precision"""
_GPU_SHARE = 1 / 3
"""the share of the data sheet's rate that training is assumed to reach"""
_LAUNCHES_S = 0.005
"""seconds per update for launching a few hundred kernels of about 10 microseconds"""
ASSUMED = (
    f"{GPU} (computed, not measured: {1000 * _LAUNCHES_S:g} ms of launches an update and a third of the data sheet's "
    "rate in the precision that is taken here; without the teacher's forward passes)"
)
"""how the hours on the GPU are computed, for the user"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTime:
    """The time that the unfinished runs of a cell take. A teacher, stage 1 or run that several cells share is counted
    in the first of them alone.

    runs_left: number of unfinished runs
    here_s: seconds on this machine
    gpu_s: seconds on `GPU`"""

    cell: TableCell
    runs_left: int
    here_s: float
    gpu_s: float


def of_cells(cells: Sequence[TableCell], terminal: Terminal, *, decode: bool = True) -> list[CellTime]:
    """Estimate the unfinished runs of every cell. One run of each method is timed, because its other seeds take as
    long. Cells of teachers come last, because their runs are mostly those of a student's cell.

    decode: if False, updates are timed on a few random images and no data set is decoded, which takes seconds"""
    counted: set[str] = set()
    rough = None if decode else RoughMeasurement()
    students_first = sorted(cells, key=lambda cell: cell.row.side == "teacher")
    return [_of_cell(cell, counted, terminal, rough) for cell in terminal.track(students_first, "measuring")]


def _of_cell(cell: TableCell, counted: set[str], terminal: Terminal, rough: RoughMeasurement | None) -> CellTime:
    """counted: hashes of the artifacts that are counted already; the cell's own hashes are added"""
    runs_left, here_s, gpu_s = 0, 0.0, 0.0
    budget_s = estimates.QUICK_S if rough is None else estimates.ONCE_S
    for candidate in cell.candidates:
        unfinished = [run for run in candidate.runs if not run.is_settled and run.hash not in counted]
        counted |= {run.hash for run in unfinished}
        runs_left += len(unfinished)
        if not unfinished:
            continue
        plan = _plan_to_count(unfinished[0].config, counted, terminal, rough)
        counted |= {*filter(None, [plan.hashes.teacher, plan.hashes.hint])}
        stage_gpu_s: dict[str, float] = {stage.name: _gpu_s(plan, stage) for stage in _all_stages(plan)}
        for stage in estimates.stage_times(plan, budget_s, rough=rough):
            repeats = 1 if stage.name == "teacher" else len(unfinished)
            here_s += repeats * stage.total_s
            gpu_s += repeats * stage_gpu_s[stage.name]
    return CellTime(cell=cell, runs_left=runs_left, here_s=here_s, gpu_s=gpu_s)


def _plan_to_count(config: Config, counted: set[str], terminal: Terminal, rough: RoughMeasurement | None) -> Plan:
    """The plan of a run without the stages that are counted already."""
    with_stage_1 = replace(config, rerun=True)  # the other seeds need stage 1 even if this one has it already
    plan = prepare(with_stage_1, terminal, None if rough is None else _random_data(with_stage_1))
    if plan.hashes.teacher in counted:
        plan = replace(plan, teacher_stage=None)
    if plan.hashes.hint in counted:  # the methods of neighbouring rows may share stage 1
        plan = replace(plan, stages=[stage for stage in plan.stages if stage.name != "hint"])
    return plan


def _random_data(config: Config) -> Data | None:
    """Random images with the digest of the data set; None if the data set must be decoded to know its size."""
    digest = planned_digest(config)
    return None if digest is None else random_images.load(config.dataset, digest, devices.set_up_device(config.engine))


def _all_stages(plan: Plan) -> list[Stage]:
    return [*([plan.teacher_stage] if plan.teacher_stage is not None else []), *plan.stages]


def _gpu_s(plan: Plan, stage: Stage) -> float:
    """Seconds of a stage on `GPU` at its full length. An update counts as three forward passes: one forward, two
    backward. The teacher's forward passes, cached or not, are left out."""
    settings, schedule, data = stage.settings, plan.config.schedule, plan.data
    steps = float(settings.epochs * (len(data.train) // settings.batch_size))
    if settings.max_steps is not None:
        steps = min(steps, settings.max_steps)
    is_teacher = stage is plan.teacher_stage
    if schedule.retrain_teacher if is_teacher else schedule.retrain_student:
        steps *= 2 + len(data.valid) / len(data.train)
    operations = 2 * 3 * settings.batch_size * _multiplications(plan, stage)  # a multiplication and an addition each
    return steps * (_LAUNCHES_S + operations / (_GPU_SHARE * _GPU_RATES[plan.precision]))


def _multiplications(plan: Plan, stage: Stage) -> int:
    """Multiplications of one image's forward pass, up to the last layer that the stage trains."""
    dataset = plan.config.dataset
    shape = image_shape(dataset)
    if stage.is_partial:
        up_to = costs.multiplications_up_to(stage.network, shape)
        return max(up_to[layer] for layer in stage.until)
    return costs.cost(stage.network, shape).multiplications
