"""How far a stage has come: all that its continuation depends on, as tensors and facts for a checkpoint."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.stages import TrainingStage
from fitnets.training.teacher_cache import CachedTeacher, TeacherOutputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch's record. epoch: from 0; train: means over its updates; valid: after it; lr: of its first update;
    seconds: with its validation, in all processes that worked at it."""

    stage: str
    epoch: int
    images: int
    lr: float
    train: dict[str, float]
    valid: dict[str, float]
    best: bool
    seconds: float
    validation_seconds: float = 0.0


class Clock:
    """Seconds that this process and those before it worked at something. It stands still until it is started."""

    def __init__(self, earlier_s: float = 0.0):
        self.earlier_s = earlier_s
        self.started_at: float | None = None

    def start(self) -> None:
        self.started_at = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        return self.earlier_s + (0.0 if self.started_at is None else time.perf_counter() - self.started_at)


class Selection:
    """The epoch with the smallest selected_by values so far, and its weights.

    `progress_epoch`: the last one that made the first selected_by value smaller; a tie does not prolong patience."""

    def __init__(self, stage: TrainingStage):
        self.stage = stage
        self.best: tuple[float, ...] = (math.inf,)
        self.epoch = self.progress_epoch = 0
        self.weights = weights_of(stage)

    def takes(self, epoch: int, valid: dict[str, float]) -> bool:
        selected_by = tuple(valid[name] for name in self.stage.selected_by)
        if selected_by[0] < self.best[0]:
            self.progress_epoch = epoch
        if selected_by < self.best:
            self.best, self.epoch, self.weights = selected_by, epoch, weights_of(self.stage)
            return True
        return False

    def restore(self) -> None:
        for name, layer in self.stage.layers.items():
            layer.load_state_dict(self.weights[name])


def weights_of(stage: TrainingStage) -> dict[str, dict[str, Tensor]]:
    """Copies of the trained layers' state, by layer."""
    return {
        name: {key: value.clone() for key, value in layer.state_dict().items()} for name, layer in stage.layers.items()
    }


@dataclass(slots=True)
class TrainingState:
    """`made_on`: from the function; `epoch`, `batches`: how many are done, of the stage and of its present epoch;
    `sums`: of the present epoch's loss and terms; `lr`: of its first update; `epochs`: the records so far; `ended_by`:
    why the stage ended, once it has; `clock`, `epoch_clock`: of the stage and of its present epoch."""

    stage: TrainingStage
    optimizer: LayerOptimizer
    selection: Selection | None
    made_on: dict[str, Any]
    epoch: int = 0
    batches: int = 0
    sums: dict[str, Any] = field(default_factory=dict)
    lr: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)
    ended_by: str | None = None
    clock: Clock = field(default_factory=Clock)
    epoch_clock: Clock = field(default_factory=Clock)

    def finish_batch(self, told: Mapping[str, Tensor | float]) -> None:
        """told: values of its loss and terms."""
        for name, value in told.items():
            self.sums[name] = self.sums.get(name, 0.0) + (value.detach() if isinstance(value, Tensor) else value)
        self.batches += 1

    def means(self) -> dict[str, float]:
        """Of the present epoch's loss and terms."""
        return {name: float(total) / self.batches for name, total in self.sums.items()}

    def finish_epoch(self, done: Epoch) -> None:
        self.epochs.append(done)
        self.epoch, self.batches, self.sums = self.epoch + 1, 0, {}
        self.epoch_clock = Clock()

    @property
    def device(self) -> torch.device:
        return next(self.stage.network.parameters()).device

    def tensors(self) -> dict[str, Tensor]:
        """Weights, best weights, optimiser state, sums, random state: by a path."""
        found = _flat("weights", weights_of(self.stage))
        if self.selection is not None:
            found |= _flat("best", self.selection.weights)
        for number, parameter in enumerate(self._parameters()):
            for key, value in self.optimizer.optimizer.state[parameter].items():
                found[f"optimizer/{number}/{key}"] = value
        found |= {f"sums/{name}": value for name, value in self.sums.items() if isinstance(value, Tensor)}
        found["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["random/cuda"] = torch.cuda.get_rng_state(self.device)
        return found

    def facts(self) -> dict[str, Any]:
        """The rest, in JSON types; `made_on` must be the same when the stage goes on. `elapsed_s`: of stage and present
        epoch so far; no result depends on it."""
        selection = self.selection
        return {
            "made_on": self.made_on,
            "epoch": self.epoch,
            "lr": self.lr,
            "batches": self.batches,
            "sums": {name: value for name, value in self.sums.items() if not isinstance(value, Tensor)},
            "sum_names": list(self.sums),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "ended_by": self.ended_by,
            "step_count": self.optimizer.step_count,
            "selection": selection and [list(selection.best), selection.epoch, selection.progress_epoch],
            "elapsed_s": [self.clock.elapsed_s, self.epoch_clock.elapsed_s],
        }

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Be where the checkpoint was made."""
        device = self.device
        for name, layer in self.stage.layers.items():
            layer.load_state_dict(_below(f"weights/{name}", tensors))
        if self.selection is not None:
            best, self.selection.epoch, self.selection.progress_epoch = facts["selection"]
            self.selection.best = tuple(best)
            self.selection.weights = {
                name: {key: value.to(device) for key, value in _below(f"best/{name}", tensors).items()}
                for name in self.stage.layers
            }
        for number, parameter in enumerate(self._parameters()):
            state = _below(f"optimizer/{number}", tensors)
            if state:
                self.optimizer.optimizer.state[parameter] = {
                    key: value if key == "step" else torch.empty_like(parameter).copy_(value)  # AdamW counts on the CPU
                    for key, value in state.items()
                }
        self.optimizer.step_count = facts["step_count"]
        self.sums = {
            name: facts["sums"][name] if name in facts["sums"] else tensors[f"sums/{name}"].to(device)
            for name in facts["sum_names"]
        }
        self.epoch, self.batches, self.lr, self.ended_by = (
            facts[key] for key in ("epoch", "batches", "lr", "ended_by")
        )
        self.epochs = [Epoch(**epoch) for epoch in facts["epochs"]]
        self.clock.earlier_s, self.epoch_clock.earlier_s = facts.get("elapsed_s", (0.0, 0.0))  # older ones have none
        torch.set_rng_state(tensors["random/cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], device)

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.optimizer.param_groups for parameter in group["params"]]


def made_on(device: torch.device, eval_batch_size: int, answers: TeacherOutputs | None) -> dict[str, Any]:
    """What changes the last digits of results, by its key: a stage that is continued needs the same."""
    same: dict[str, Any] = {"engine.eval_batch_size": eval_batch_size}
    if isinstance(answers, CachedTeacher):
        same["answers looked up (engine.views, engine.hint_cache_gb)"] = "+".join(answers.train) or "none"
    if device.type == "cuda":
        return {"engine.device": torch.cuda.get_device_name(device)} | same
    return {"engine.device": "cpu", "engine.threads": torch.get_num_threads()} | same


def _flat(path: str, weights: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{path}/{name}/{key}": value for name, layer in weights.items() for key, value in layer.items()}


def _below(path: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What lies below a path, by the rest of its own."""
    return {name.removeprefix(f"{path}/"): value for name, value in tensors.items() if name.startswith(f"{path}/")}
