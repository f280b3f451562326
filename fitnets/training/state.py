"""The state of a stage in training: everything that resuming depends on, as tensors and facts for a checkpoint."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from fitnets.kernels import maxout
from fitnets.models.layers import Conv2d
from fitnets.parallel.group import ALONE, Group
from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.stages import Stage
from fitnets.training.teacher_cache import CachedTeacher


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The record of one epoch.

    stage: name of the stage, with the prefix `retrain_` if it trains for a fixed number of epochs.
    epoch: number of the epoch, from 0.
    images: training images seen in the stage so far.
    lr: learning rate of the epoch's first update.
    train: means over the epoch's updates, by name.
    valid: values on validation after the epoch, by name.
    best: whether this is the best epoch so far.
    seconds: duration of the updates and the validation, in all processes that worked at the epoch.
    validation_seconds: the part of `seconds` that validation took.
    teacher_seconds: further seconds, before the first update, in which the teacher's outputs for the epoch were
        computed, or awaited from another process."""

    stage: str
    epoch: int
    images: int
    lr: float
    train: dict[str, float]
    valid: dict[str, float]
    best: bool
    seconds: float
    validation_seconds: float = 0.0
    teacher_seconds: float = 0.0


class Clock:
    """Counts seconds of work, including those of earlier processes. It stands still until it is started.

    earlier_s: seconds that earlier processes worked."""

    def __init__(self, earlier_s: float = 0.0):
        self.earlier_s = earlier_s
        self.started_at: float | None = None

    def start(self) -> None:
        self.started_at = time.perf_counter()

    def stop(self) -> None:
        self.earlier_s, self.started_at = self.elapsed_s, None

    @property
    def elapsed_s(self) -> float:
        return self.earlier_s + (0.0 if self.started_at is None else time.perf_counter() - self.started_at)


class Selection:
    """Keeps the best epoch so far and a copy of its weights.

    best: the smallest `selected_by` values so far.
    epoch: the epoch in which they occurred.
    progress_epoch: the last epoch that made the first `selected_by` value smaller; a tie does not prolong patience.
    weights: the trained layers' state after the best epoch, by layer."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.best: tuple[float, ...] = (math.inf,)
        self.epoch = self.progress_epoch = 0
        self.weights = weights_of(stage)

    def update(self, epoch: int, valid: dict[str, float]) -> bool:
        """Keep the epoch and its weights if it is the best so far; return whether it is."""
        selected_by = tuple(valid[name] for name in self.stage.selected_by)
        if selected_by[0] < self.best[0]:
            self.progress_epoch = epoch
        if selected_by < self.best:
            self.best, self.epoch, self.weights = selected_by, epoch, weights_of(self.stage)
            return True
        return False

    def restore(self) -> None:
        """Load the best epoch's weights into the layers."""
        for name, layer in self.stage.layers.items():
            layer.load_state_dict(self.weights[name])


@dataclass(frozen=True, slots=True)
class Average:
    """The mean of the network's weights after several epochs. Its running statistics are measured again for the mean
    (`training.statistics`).

    epochs: number of epochs whose weights are averaged.
    weights: by layer and key; numbers that are no fractions, such as counters, are those of the last epoch."""

    epochs: int
    weights: dict[str, dict[str, Tensor]]

    def with_epoch(self, weights: dict[str, dict[str, Tensor]]) -> "Average":
        """The mean with the weights of one more epoch."""
        return Average(
            self.epochs + 1,
            {
                name: {key: self._mean(self.weights[name][key], value) for key, value in layer.items()}
                for name, layer in weights.items()
            },
        )

    def _mean(self, mean: Tensor, value: Tensor) -> Tensor:
        return mean + (value - mean) / (self.epochs + 1) if value.is_floating_point() else value


@contextmanager
def using(average: Average | None, stage: Stage) -> Iterator[None]:
    """Give the network the averaged weights during the block; without an average it keeps its own."""
    if average is None:
        yield
        return
    own = network_weights(stage)
    load(average, stage)
    try:
        yield
    finally:
        load(Average(1, own), stage)


def load(average: Average, stage: Stage) -> None:
    """Give the network the averaged weights."""
    for name, layer in stage.network.trainable_parts(*stage.until).items():
        layer.load_state_dict(average.weights[name])


def network_weights(stage: Stage) -> dict[str, dict[str, Tensor]]:
    """Copy the state dicts of the network's trained layers, without those of heads, by layer."""
    return {
        name: {key: value.clone() for key, value in layer.state_dict().items()}
        for name, layer in stage.network.trainable_parts(*stage.until).items()
    }


def weights_of(stage: Stage) -> dict[str, dict[str, Tensor]]:
    """Copy the state dicts of the trained layers, by layer."""
    return {
        name: {key: value.clone() for key, value in layer.state_dict().items()} for name, layer in stage.layers.items()
    }


@dataclass(slots=True)
class TrainingState:
    """Everything that changes while a stage trains. It can be saved in a checkpoint and restored from one."""

    stage: Stage
    optimizer: LayerOptimizer
    selection: Selection | None
    """None if the last weights are kept, without validation"""
    made_on: dict[str, Any]
    """result of the function `made_on`"""
    group: Group = ALONE
    """the processes that train the stage"""
    epoch: int = 0
    """epochs completed"""
    batches: int = 0
    """updates done in this epoch"""
    sums: dict[str, Any] = field(default_factory=dict)
    """sums of the loss and its terms over this epoch's updates"""
    lr: float = 0.0
    """learning rate of this epoch's first update"""
    epochs: list[Epoch] = field(default_factory=list)
    """records of the completed epochs"""
    average: Average | None = None
    """mean of the weights after the last epochs; None before them"""
    ended_by: str | None = None
    """reason why the stage has ended; None while it trains"""
    clock: Clock = field(default_factory=Clock)
    """time of the stage"""
    epoch_clock: Clock = field(default_factory=Clock)
    """time of this epoch's updates and validation"""
    teacher_clock: Clock = field(default_factory=Clock)
    """time of the teacher's outputs for this epoch"""
    resumed_random_states: dict[str, Tensor] = field(default_factory=dict)
    """in the checkpoint that was resumed: the states of the random numbers of all processes"""

    def finish_batch(self, values: Mapping[str, Tensor | float]) -> None:
        """Add the values of a batch's loss and terms, by name, to the sums of this epoch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + (value.detach() if isinstance(value, Tensor) else value)
        self.batches += 1

    def means(self) -> dict[str, float]:
        """Return the means of the loss and its terms over this epoch's updates so far."""
        return {name: float(total) / self.batches for name, total in self.sums.items()}

    def next_average(self, epochs: int) -> Average | None:
        """The average with the weights of the epoch that has just been trained; None if it is not averaged.

        epochs: planned length of the stage."""
        if self.epoch < epochs - self.stage.settings.averaged_epochs:
            return None
        weights = network_weights(self.stage)
        return Average(1, weights) if self.average is None else self.average.with_epoch(weights)

    def finish_epoch(self, record: Epoch) -> None:
        """Add the record of the completed epoch, and begin the next one."""
        self.epochs.append(record)
        self.epoch, self.batches, self.sums = self.epoch + 1, 0, {}
        self.epoch_clock, self.teacher_clock = Clock(), Clock()

    @property
    def device(self) -> torch.device:
        return next(self.stage.network.parameters()).device

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint by path: weights, best weights, optimiser state, sums, random state."""
        tensors = _flat("weights", weights_of(self.stage))
        tensors |= _flat("memory", {name: module.state_dict() for name, module in self.stage.memory.items()})
        if self.selection is not None:
            tensors |= _flat("best", self.selection.weights)
        if self.average is not None:
            tensors |= _flat("average", self.average.weights)
        for number, parameter in enumerate(self._parameters()):
            for key, value in self.optimizer.optimizer.state[parameter].items():
                tensors[f"optimizer/{number}/{key}"] = value
        tensors |= {f"sums/{name}": value for name, value in self.sums.items() if isinstance(value, Tensor)}
        return tensors | self.random_state()

    def facts(self) -> dict[str, Any]:
        """Return everything else that a checkpoint holds, in JSON types.

        made_on: must be the same when the stage is resumed.
        elapsed_s: seconds spent on the stage, on this epoch and on its teacher outputs so far; no result depends on
            them."""
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
            "averaged": 0 if self.average is None else self.average.epochs,
            "step_count": self.optimizer.step_count,
            "selection": selection and [list(selection.best), selection.epoch, selection.progress_epoch],
            "elapsed_s": [self.clock.elapsed_s, self.epoch_clock.elapsed_s, self.teacher_clock.elapsed_s],
        }

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Return to the state of a checkpoint, given its `tensors()` and `facts()`."""
        device = self.device
        for name, layer in self.stage.layers.items():
            layer.load_state_dict(_below(f"weights/{name}", tensors))
        for name, module in self.stage.memory.items():
            module.load_state_dict(_below(f"memory/{name}", tensors))
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
                    key: value
                    if key == "step"
                    else torch.empty_like(parameter).copy_(value)  # AdamW counts steps on the CPU
                    for key, value in state.items()
                }
        if facts.get("averaged"):  # absent in old checkpoints
            layers = self.stage.network.trainable_parts(*self.stage.until)
            weights = {
                name: {key: value.to(device) for key, value in _below(f"average/{name}", tensors).items()}
                for name in layers
            }
            self.average = Average(facts["averaged"], weights)
        self.optimizer.step_count = facts["step_count"]
        self.sums = {
            name: facts["sums"][name] if name in facts["sums"] else tensors[f"sums/{name}"].to(device)
            for name in facts["sum_names"]
        }
        self.epoch, self.batches, self.lr, self.ended_by = (
            facts[key] for key in ("epoch", "batches", "lr", "ended_by")
        )
        self.epochs = [Epoch(**epoch) for epoch in facts["epochs"]]
        elapsed_s = [*facts.get("elapsed_s", []), 0.0, 0.0, 0.0]  # old checkpoints lack the last ones
        self.clock.earlier_s, self.epoch_clock.earlier_s, self.teacher_clock.earlier_s = elapsed_s[:3]
        self.resumed_random_states = {name: value for name, value in tensors.items() if name.startswith("random/")}
        self._set_random_state(tensors)

    def random_state(self) -> dict[str, Tensor]:
        """Return the state of this process's random numbers, by the names under which a checkpoint holds it."""
        rank = self.group.rank
        name = "random" if rank == 0 else f"random/{rank}"
        state = {f"{name}/cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state[f"{name}/cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _set_random_state(self, tensors: dict[str, Tensor]) -> None:
        for name in self.random_state():
            if name not in tensors:  # of another process than 0, before the first checkpoint: an epoch's start sets it
                continue
            if name.endswith("cuda"):
                torch.cuda.set_rng_state(tensors[name], self.device)
            else:
                torch.set_rng_state(tensors[name])

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.optimizer.param_groups for parameter in group["params"]]


PROCESSES = "processes"
"""key of `made_on` for several processes; one process leaves it out, as earlier versions did"""


def made_on(device: torch.device, eval_batch_size: int, stage: Stage, processes: int = 1) -> dict[str, Any]:
    """Return the circumstances that change the last digits of results, by key.

    A stage can only be resumed under the same circumstances. Checkpoints store the keys, so the keys must never
    change."""
    settings: dict[str, Any] = {"engine.eval_batch_size": eval_batch_size}
    if isinstance(stage.teacher_outputs, CachedTeacher):
        looked_up = "+".join(stage.teacher_outputs.train) or "none"
        settings["answers looked up (engine.views, engine.hint_cache_gb)"] = looked_up
    if any(isinstance(part, Conv2d) and part.has_kernel for part in stage.network.modules()):
        settings["engine.kernels"] = "auto" if maxout.are_available() else "off"
    if processes > 1:
        settings[PROCESSES] = processes
    if device.type == "cuda":
        return {"engine.device": torch.cuda.get_device_name(device)} | settings
    return {"engine.device": "cpu", "engine.threads": torch.get_num_threads()} | settings


def _flat(path: str, weights: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{path}/{name}/{key}": value for name, layer in weights.items() for key, value in layer.items()}


def _below(path: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below a path, by the rest of their paths."""
    return {name.removeprefix(f"{path}/"): value for name, value in tensors.items() if name.startswith(f"{path}/")}
