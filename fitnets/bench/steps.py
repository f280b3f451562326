"""Times training steps, beside plain PyTorch, the machine's matrix product and peers.

All contestants take turns, so that a busy machine slows all of them alike: read the ratios. Images are random numbers
of the data set's shape, and the batches are ready. This module times the steps alone; `runs` times whole epochs.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.bench.peers import Peer, Step, start_peer
from fitnets.config import (
    Augmentation,
    Config,
    Dataset,
    Method,
    MethodStage,
    Precision,
    Scale,
    SeveralPairs,
    image_shape,
    methods,
)
from fitnets.console.terminal import Terminal
from fitnets.data.splits import Batch, Data, Split
from fitnets.machine import devices, latency
from fitnets.models import costs, layer_pairs
from fitnets.models.network import Network, freeze, place
from fitnets.planning.plan import new_student, new_teacher
from fitnets.progress import Progress
from fitnets.training.cache_plan import plan_cache
from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.stages import Stage, train_mode
from fitnets.training.teacher_cache import TeacherCache
from fitnets.training.teacher_outputs import FixedOutputs

Timed = Callable[[], float]
"""does one step and returns its seconds"""
PLAIN = "plain PyTorch"
_PASSES = 3
"""A training step has the multiplications of three forward passes: forward, backward to inputs, backward to weights."""
_SIDE = 2048
"""rows and columns of the square matrices whose product gives the machine's peak rate"""
_BATCHES = 4
"""number of different batches that the steps take in turn"""
_ATTENTION = Method(name="attention", stages={"student": MethodStage(terms={"label": {}, "attention": {}})})
_MOST_PAIRS = 3
"""pairs of layers of the attention step"""
_METHODS: dict[str, tuple[Method, str]] = {  # the method whose first stage is timed, and what its student computes
    "backprop": (methods.backprop(), "whole student forward and backward, cross-entropy"),
    "KD": (methods.distill(), "whole student forward and backward, Eq. 2"),
    "hint": (methods.hints(), "student forward and backward up to the guided layer, regressor, Eq. 3"),
    "attention": (_ATTENTION, "whole student forward and backward, cross-entropy, attention maps of several layers"),
}
_TEACHER = {  # the part of the teacher that the step computes or reads
    ("KD", "live"): "whole teacher forward",
    ("hint", "live"): "teacher forward up to the hint layer",
    ("KD", "cached"): "teacher's logits looked up",
    ("hint", "cached"): "teacher's maps looked up",
    ("attention", "cached"): "teacher's maps looked up",
    ("attention", "given"): "teacher's maps are there already",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One implementation of one training step.

    who: "fitnets", PLAIN or the name of a peer
    step: the kind of step, a key of `_METHODS`
    answers: where the teacher's outputs come from, "live" or "cached"; "given" if they cost nothing, to see what the
        student's side costs; None for steps without a teacher
    computes: what the step computes, in words"""

    who: str
    step: str
    precision: Precision
    answers: str | None
    computes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The speed of a contestant. Ratios are medians over the rounds.

    images_per_s: images per second, median over the rounds
    low, high: quartiles of images_per_s
    against_plain: its duration divided by that of plain PyTorch's backprop step in the same precision
    against_peers: its images per second divided by those of the same step of each peer; empty for peers
    peak_share: the student's multiplications per second, divided by those of a matrix product in the same precision.
        More than 1 is possible: Winograd convolutions need fewer multiplications than are counted. None for steps that
        do not compute the whole student."""

    student: str
    contestant: Contestant
    images_per_s: float
    low: float
    high: float
    against_plain: float
    against_peers: dict[str, float]
    peak_share: float | None


def measure(
    config: Config,
    *,
    batch: int,
    rounds: int,
    peers: Sequence[Peer],
    progress: Progress,
) -> list[Measured]:
    """Time the steps of the configuration's student and teacher, in fp32 and in the precision of the configuration.
    Peers run in fp32, each in a process of its own.

    batch: images per step
    rounds: number of timed steps of each contestant, at least 2"""
    device = devices.set_up_device(config.engine)
    precisions = tuple(dict.fromkeys(("fp32", devices.precision(config, device))))
    data = _random_images(config.dataset, _BATCHES * batch, device)
    with _contestants(config, data, batch, precisions, peers) as steps:
        products = {precision: _timed(_product(device, precision), device) for precision in precisions}
        durations_s: dict[Contestant | Precision, list[float]] = {name: [] for name in (*steps, *products)}
        for number in progress.track(range(rounds + 1), f"benchmark of {config.student.name}"):
            for name, step in (*steps.items(), *products.items()):
                step_s = step()
                if number:  # the first round warms up
                    durations_s[name].append(step_s)
    peak_s = {precision: _multiplications(config) * min(durations_s[precision]) / _SIDE**3 for precision in products}
    return [
        _measured(config.student.name, contestant, durations_s, batch, peak_s[contestant.precision])
        for contestant in steps
    ]


def _multiplications(config: Config) -> int:
    """Multiplications of one image's forward pass through the student."""
    return costs.costs_by_network(config)["student"]["multiplications"]


def _measured(
    student: str,
    contestant: Contestant,
    durations_s: Mapping[Contestant | Precision, list[float]],
    batch: int,
    peak_s: float,
) -> Measured:
    """Compare a contestant with the others.

    durations_s: seconds of each round, by contestant; those of the matrix product by precision
    peak_s: seconds that one image's forward multiplications take at the machine's peak rate"""
    steps_s = durations_s[contestant]
    low, median, high = statistics.quantiles([batch / step_s for step_s in steps_s], n=4, method="inclusive")

    def relative_duration(other: Contestant) -> float:
        pairs = zip(steps_s, durations_s[other], strict=True)
        return statistics.median(step_s / other_s for step_s, other_s in pairs)

    contestants = [other for other in durations_s if isinstance(other, Contestant)]
    plain = next(other for other in contestants if (other.who, other.precision) == (PLAIN, contestant.precision))
    same_step = {other.who: other for other in contestants if _is_peer(other) and other.step == contestant.step}
    speedups = {name: 1 / relative_duration(other) for name, other in same_step.items()}
    return Measured(
        student=student,
        contestant=contestant,
        images_per_s=median,
        low=low,
        high=high,
        against_plain=relative_duration(plain),
        against_peers={} if _is_peer(contestant) else speedups,
        peak_share=_PASSES * peak_s * median if contestant.step != "hint" else None,
    )


def _is_peer(contestant: Contestant) -> bool:
    return contestant.who not in ("fitnets", PLAIN)


# --- contestants ---


@contextmanager
def _contestants(
    config: Config, data: Data, batch: int, precisions: Sequence[Precision], peers: Sequence[Peer]
) -> Iterator[dict[Contestant, Timed]]:
    """Set up all contestants, with networks of their own, while the block runs. Peers' processes end with the block."""
    batches = [
        data.train.augmented(rows, 0, data.views(Augmentation())) for rows in torch.split(data.train.rows, batch)
    ]
    device = data.train.rows.device
    with tempfile.TemporaryDirectory() as root, ExitStack() as open_peers:
        steps: dict[Contestant, Timed] = {}
        for precision in precisions:
            untimed = _own_and_plain(config, data, batches, precision, Path(root))
            steps |= {contestant: _timed(step, device) for contestant, step in untimed.items()}
        for peer in peers:
            for kind, step in open_peers.enter_context(start_peer(peer, config, batches[0])).items():
                contestant = Contestant(
                    who=peer.name, step=kind, precision="fp32", answers="live", computes=peer.computes[kind]
                )
                steps[contestant] = step
        yield steps


def _timed(step: Step, device: torch.device) -> Timed:
    return lambda: latency.timed(step, device, repeats=1, warm_up=0)[0]


def _own_and_plain(
    config: Config, data: Data, batches: list[Batch], precision: Precision, root: Path
) -> dict[Contestant, Step]:
    """The steps of this framework, and a plain PyTorch baseline on the same student in the same memory layout."""
    teacher = freeze(place(new_teacher(config), data.train.rows.device, precision))
    teacher.set_preprocessing(Scale(), {})
    cache = TeacherCache(root, teacher, precision, Terminal(quiet=True))
    student, _ = new_student(replace(config, method=methods.backprop()), teacher)
    student.set_preprocessing(Scale(), {})
    computes = _METHODS["backprop"][1]
    plain = Contestant(who=PLAIN, step="backprop", precision=precision, answers=None, computes=computes)
    steps = {plain: plain_step(student, batches)}
    for name, answers in (("backprop", None), *_TEACHER):
        method, computes = _METHODS[name]
        _, (stage, *_) = new_student(_with_pairs(replace(config, method=method), teacher, student), teacher)
        if answers == "given":
            teacher_outputs = stage.teacher_outputs
            assert teacher_outputs is not None
            stage.teacher_outputs = FixedOutputs(teacher_outputs(batches[0], stage.teacher_layers))
        if answers == "cached":
            views = data.views(Augmentation())
            cache_plan = plan_cache(
                stage.teacher_layers, teacher, stage.settings, data, views=views, max_tables=1, budget_bytes=math.inf
            )
            stage.teacher_outputs = cache.outputs(replace(cache_plan, cached=cache_plan.layers), data)
        computes_all = computes if answers is None else f"{computes}; {_TEACHER[name, answers]}"
        contestant = Contestant(who="fitnets", step=name, precision=precision, answers=answers, computes=computes_all)
        steps[contestant] = update_step(stage, batches)
    return steps


def _with_pairs(config: Config, teacher: Network, student: Network) -> Config:
    """The configuration with a pair for each size of map, for the attention step; others keep their pair."""
    if config.method is not _ATTENTION:
        return config
    shape = image_shape(config.dataset)
    pairs = layer_pairs.suggest_several(*(layer_pairs.layer_rows(network, shape) for network in (teacher, student)))
    positions = {name: math.prod(student.layer_output(pair.student).out_shape[1:]) for name, pair in pairs.items()}
    maps = [name for name in pairs if positions[name] > 1][:_MOST_PAIRS]
    return replace(config, hint_layer=SeveralPairs(pairs={name: pairs[name] for name in maps}))


def _random_images(dataset: Dataset, count: int, device: torch.device) -> Data:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, *image_shape(dataset), generator=generator).to(device)
    labels = torch.randint(dataset.classes, (count,), generator=generator).to(device)
    split = Split(images, labels, torch.arange(count, device=device))
    return Data(split, split, digest="random", view_seed=0)


def plain_step(student: Network, batches: list[Batch]) -> Step:
    """A backprop step in PyTorch alone, as anybody would write it. The batches take turns."""
    optimizer = torch.optim.RMSprop(student.parameters(), lr=1e-6)
    student.train()
    endless = cycle(batches)

    def step() -> None:
        batch = next(endless)
        optimizer.zero_grad()
        loss = F.cross_entropy(student(batch.images)[0], batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def update_step(stage: Stage, batches: list[Batch]) -> Step:
    """An update of the stage's layers, as the training loop does it. The batches take turns."""
    optimizer = LayerOptimizer(stage.layers, stage.settings, steps_per_epoch=1000)
    train_mode(stage)
    endless = cycle(batches)

    def step() -> None:
        loss, _ = stage.step(next(endless), 0)
        optimizer.update(loss)

    return step


def _product(device: torch.device, precision: Precision) -> Step:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    first, second, product = (torch.rand(_SIDE, _SIDE, device=device).to(dtype) for _ in range(3))
    return partial(_multiply, first, second, product)


def _multiply(first: Tensor, second: Tensor, product: Tensor) -> None:
    torch.mm(first, second, out=product)
