"""The work of several processes on one run: process 0 composes, locks, writes and logs, and orders the others to train
a stage with it, or to compute a share of a table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch

from fitnets.config import Config
from fitnets.data import splits
from fitnets.errors import ConfigError
from fitnets.machine import devices
from fitnets.models.network import freeze
from fitnets.parallel import group
from fitnets.parallel.group import LeaderFailed
from fitnets.planning.plan import Plan, prepare
from fitnets.training.checkpoints import Checkpoints
from fitnets.training.loop import fit
from fitnets.training.stages import Stage
from fitnets.training.state import Epoch, TrainingState
from fitnets.training.teacher_cache import SHARE
from fitnets.training.teacher_outputs import LiveTeacher

if TYPE_CHECKING:  # PyTorch may have been built without torch.distributed, which one process does not need
    from fitnets.parallel.processes import Processes

PLAN, STAGE = "plan", "stage"


# --- process 0 ---


@contextmanager
def led_by_this(plan: Plan) -> Iterator[None]:
    """Surround the training of a run in process 0: the others prepare the same run first, and their losses are told.

    Raises ConfigError if another process has other data, versions or hardware."""
    if group.current().size == 1:
        yield
        return
    processes = cast("Processes", group.current())
    with processes.causes_told():  # here too, because the run's status is to tell the cause
        processes.order(PLAN, plan.config)
        processes.open(plan.device)
        error = _difference(processes.gathered(_facts(plan)), processes)
        if error is not None:
            raise ConfigError(error)
        yield


def order_stage(stage: Stage, seed: int, fixed_epochs: int | None) -> None:
    """Tell the other processes which stage is trained next."""
    group.current().order(STAGE, (stage.name, seed, fixed_epochs))


def _facts(plan: Plan) -> dict[str, Any]:
    """Return what must be equal in all processes, by key."""
    on_gpu = plan.device.type == "cuda"
    return {
        "engine.precision": plan.precision,
        "engine.device": devices.describe(plan.device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
        "engine.threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "hash of the data": plan.data.digest,
        "hash of the run": plan.hashes.run,
    }


def _difference(facts: Sequence[dict[str, Any]], processes: "Processes") -> str | None:
    """A sentence on the first fact in which a process differs from process 0; None if all are equal."""
    for rank, theirs in enumerate(facts):
        for key, value in facts[0].items():
            if theirs[key] != value:
                return (
                    f"{processes.name(rank)} has {key}={theirs[key]}, and rank 0 has {value}: all processes of a run "
                    "need the same"
                )
    return None


# --- the other processes ---


class _Silence:
    """Shows no progress."""

    def track(self, items: range, title: str) -> range:
        return items

    def say(self, text: str) -> None:
        pass

    def on_resume(self, state: TrainingState) -> None:
        pass

    def on_step(self) -> None:
        pass

    def on_epoch(self, epoch: Epoch) -> None:
        pass


class _NoCheckpoints:
    """The checkpoints of a process that neither writes nor reads any."""

    def is_due(self, *, epoch_end: bool) -> bool:
        return False


_SILENCE = _Silence()


def follow(processes: "Processes") -> bool:
    """Do what process 0 orders until it ends. Returns whether it ended without an error."""
    plan: Plan | None = None
    while True:
        kind, content = processes.next_order()
        try:
            if kind == PLAN:
                plan = _prepared(content, processes)
            elif kind == STAGE:
                assert plan is not None
                _fit(plan, processes, *content)
            elif kind == SHARE:
                assert plan is not None
                _compute_share(plan, content)
            else:
                return bool(content)
        except LeaderFailed:
            pass
        except Exception as error:
            if not processes.has_agreed_on(error):
                raise


def _prepared(config: Config, processes: "Processes") -> Plan:
    """The run of process 0, whose data have been decoded already."""
    device = devices.set_up_device(config.engine)
    data = splits.load(config.dataset, config.root, device, _SILENCE, keep=config.engine.data)
    plan = prepare(config, _SILENCE, data)
    processes.open(device)
    processes.handlers = {SHARE: lambda content: _compute_share(plan, content)}
    processes.gathered(_facts(plan))
    return plan


def _compute_share(plan: Plan, content: Any) -> None:
    assert plan.teacher is not None
    freeze(plan.teacher)
    plan.teacher_cache(_SILENCE).compute_share(plan.data.train, content)


def _fit(plan: Plan, processes: "Processes", name: str, seed: int, fixed_epochs: int | None) -> None:
    """Train a stage together with process 0."""
    stages = [*plan.stages, *([plan.teacher_stage] if plan.teacher_stage is not None else [])]
    (stage,) = (stage for stage in stages if stage.name == name)
    data = plan.data if fixed_epochs is None else plan.data.with_validation()
    if stage.teacher is not None:
        freeze(stage.teacher)
    cache_plan = plan.cache_plan(stage, data)
    if cache_plan is not None:
        stage.teacher_outputs = plan.teacher_cache(_SILENCE).outputs(cache_plan, data)
    fit(
        stage,
        data,
        seed=seed,
        eval_batch_size=plan.config.engine.eval_batch_size,
        observer=_SILENCE,
        views=plan.views(stage),
        fixed_epochs=fixed_epochs,
        checkpoints=cast(Checkpoints, _NoCheckpoints()),
        group=processes,
    )
    if stage.teacher is not None:
        stage.teacher_outputs = LiveTeacher(stage.teacher)  # closes the cache tables
