"""How fast a training step is, against plain PyTorch and against the machine: `fitnets bench`.

All contestants take turns, so that a busy machine slows them alike: read the ratios. Images are random numbers of the
data set's shape; no data are loaded."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets import costs, engine
from fitnets.config import Backprop, Config, Distill, Hints, Method
from fitnets.labelled import Watcher
from fitnets.networks import Network, freeze
from fitnets.objectives import Objective, train_mode
from fitnets.optimizers import LayerOptimizer
from fitnets.plan import new_student, new_teacher

Step = Callable[[], None]
_PLAIN = "plain PyTorch backprop"
_PASSES = 3
"""the multiplications of a training step by those of a forward pass: forward, and backward to inputs and weights"""
_SIDE = 2048
"""of the square matrices whose product is the machine's peak"""
_STAGES: dict[str, tuple[Method, int, str]] = {  # method, number of its stage, what is computed
    "backprop": (Backprop(), 0, "student forward and backward, cross-entropy"),
    "KD": (Distill(), 0, "the same and the teacher's forward pass, Eq. 2"),
    "hint": (Hints(), 0, "student forward and backward up to the guided layer, teacher up to the hint layer, Eq. 3"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A step. images_per_s: median over the rounds; low, high: their quartiles; ratio: of its seconds to those of plain
    PyTorch, median over the rounds; peak_share: multiplications of the student's own passes a second, as a share of the
    machine's in a matrix product (more than 1 where a convolution needs fewer than are counted, as Winograd's does);
    None where the step does not compute all of the student."""

    student: str
    step: str
    computes: str
    images_per_s: float
    low: float
    high: float
    ratio: float
    peak_share: float | None


def measure(config: Config, *, batch: int, rounds: int, watcher: Watcher) -> list[Measured]:
    """Of the configuration's student and teacher. rounds: at least 2."""
    device = engine.device(config.engine)
    steps, student = _steps(config, batch, device)
    steps["peak"] = partial(_product, *(torch.rand(_SIDE, _SIDE, device=device) for _ in range(2)))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in watcher.track(range(rounds + 1), f"benchmark of {config.student.name}"):
        for name, step in steps.items():
            (took,) = engine.timed(step, device, repeats=1, warm_up=0)
            if number:  # the first round warms up
                seconds[name].append(took)
    peak = _SIDE**3 / min(seconds.pop("peak"))
    dataset = config.dataset
    cost = costs.cost(student, (dataset.channels, dataset.height, dataset.width)).multiplications
    return [_measured(config, name, seconds, batch, None if name == "hint" else cost / peak) for name in seconds]


def _measured(config: Config, name: str, seconds: dict[str, list[float]], batch: int, cost_s: float | None) -> Measured:
    """cost_s: seconds of an image's forward multiplications at the machine's peak."""
    own = seconds[name]
    low, _, high = statistics.quantiles([batch / took for took in own], n=4)
    median = statistics.median(own)
    return Measured(
        student=config.student.name,
        step=name,
        computes=_STAGES[name][2] if name in _STAGES else "student forward and backward, cross-entropy, torch.optim",
        images_per_s=batch / median,
        low=low,
        high=high,
        ratio=statistics.median(took / plain for took, plain in zip(own, seconds[_PLAIN], strict=True)),
        peak_share=None if cost_s is None else _PASSES * batch * cost_s / median,
    )


def _steps(config: Config, batch: int, device: torch.device) -> tuple[dict[str, Step], Network]:
    """The contestants, and the student that they train (each its own copy)."""
    dataset = config.dataset
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, dataset.channels, dataset.height, dataset.width, generator=generator).to(device)
    labels = torch.randint(dataset.classes, (batch,), generator=generator).to(device)
    teacher = freeze(new_teacher(config).to(device))
    plain, _ = new_student(replace(config, method=Backprop()), teacher, device)
    steps: dict[str, Step] = {_PLAIN: _plain(plain, images, labels)}
    for name, (method, stage, _) in _STAGES.items():
        _, objectives = new_student(replace(config, method=method), teacher, device)
        steps[name] = _ours(objectives[stage], images, labels)
    return steps, plain


def _plain(student: Network, images: Tensor, labels: Tensor) -> Step:
    """As anybody would write it."""
    optimizer = torch.optim.RMSprop(student.parameters(), lr=1e-6)
    student.train()

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(student(images)[0], labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _ours(objective: Objective, images: Tensor, labels: Tensor) -> Step:
    optimizer = LayerOptimizer(objective.layers, objective.stage, steps_per_epoch=1000)
    train_mode(objective)

    def step() -> None:
        loss, _ = objective.step(images, labels, 0)
        optimizer.update(loss)

    return step


def _product(first: Tensor, second: Tensor) -> None:
    first @ second  # noqa: B018


def as_json(found: list[Measured], config: Config, *, batch: int, rounds: int) -> dict[str, object]:
    device = engine.device(config.engine)
    return {
        "measured": [asdict(one) for one in found],
        "batch": batch,
        "rounds": rounds,
        "precision": "fp32",
        "environment": engine.environment(device),
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


HEADER = ["student", "step", "images/s", "quartiles", "time against plain", "of the matrix product's rate"]


def as_rows(found: list[Measured]) -> list[list[str]]:
    """Under HEADER."""
    return [
        [
            one.student,
            one.step,
            f"{one.images_per_s:.0f}",
            f"{one.low:.0f} - {one.high:.0f}",
            f"{one.ratio:.2f} x",
            "-" if one.peak_share is None else f"{100 * one.peak_share:.0f} %",
        ]
        for one in found
    ]
