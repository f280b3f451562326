"""Training steps against plain PyTorch, the machine's matrix product and peers.

All contestants take turns, so that a busy machine slows them alike: read the ratios. Images are random numbers of the
data set's shape, and batches are ready: what a step costs is looked at here, what an epoch adds in `runs`."""

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

from fitnets.bench.peers import Peer, Step, running
from fitnets.config import Augmentation, Backprop, Config, Distill, Hints, Method, Precision, Scale, image_shape
from fitnets.console.terminal import Terminal
from fitnets.data.splits import Batch, Data, Split
from fitnets.machine import devices, latency
from fitnets.models import costs
from fitnets.models.network import Network, freeze, place
from fitnets.planning.plan import new_student, new_teacher
from fitnets.progress import Progress
from fitnets.training.optimizers import LayerOptimizer
from fitnets.training.stages import TrainingStage, train_mode
from fitnets.training.teacher_cache import TeacherCache, plan_cache

Timed = Callable[[], float]
"""makes one step and gives the seconds that it took"""
PLAIN = "plain PyTorch"
_PASSES = 3
"""the multiplications of a training step by those of a forward pass: forward, and backward to inputs and weights"""
_SIDE = 2048
"""of the square matrices whose product is the machine's peak"""
_BATCHES = 4
"""different ones, whose teacher's answers lie in tables"""
_METHODS: dict[str, tuple[Method, str]] = {  # its first stage is measured; what that computes of the student
    "backprop": (Backprop(), "whole student forward and backward, cross-entropy"),
    "KD": (Distill(), "whole student forward and backward, Eq. 2"),
    "hint": (Hints(), "student forward and backward up to the guided layer, regressor, Eq. 3"),
}
_TEACHER = {  # what it costs besides
    ("KD", "live"): "whole teacher forward",
    ("hint", "live"): "teacher forward up to the hint layer",
    ("KD", "cached"): "teacher's logits looked up",
    ("hint", "cached"): "teacher's maps looked up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Who makes which step, in which precision. answers: of the teacher, "live" or "cached"; None: there is none."""

    who: str
    step: str
    precision: Precision
    answers: str | None
    computes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A contestant. images_per_s: median over the rounds; low, high: their quartiles; against_plain: its seconds by
    those of plain PyTorch's backprop step in the same precision, median over the rounds; against_peers: its images a
    second by those of each peer's same step; peak_share: multiplications of the student's own passes a second, as a
    share of the machine's in a matrix product of the same precision (more than 1 where a convolution needs fewer than
    are counted, as Winograd's does); None where the step does not compute all of the student."""

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
    """Of the configuration's student and teacher, in fp32 and in the precision that the configuration comes to; of
    peers in fp32, in processes of their own. rounds: at least 2."""
    device = devices.set_up_device(config.engine)
    precisions = tuple(dict.fromkeys(("fp32", devices.precision(config, device))))
    data = _random_images(config, _BATCHES * batch, device)
    with _contestants(config, data, batch, precisions, peers) as steps:
        products = {precision: _timed(_product(device, precision), device) for precision in precisions}
        seconds: dict[Contestant | Precision, list[float]] = {who: [] for who in (*steps, *products)}
        for number in progress.track(range(rounds + 1), f"benchmark of {config.student.name}"):
            for who, step in (*steps.items(), *products.items()):
                took = step()
                if number:  # the first round warms up
                    seconds[who].append(took)
    cost_s = {precision: _multiplications(config) * min(seconds[precision]) / _SIDE**3 for precision in products}
    return [
        _measured(config.student.name, contestant, seconds, batch, cost_s[contestant.precision]) for contestant in steps
    ]


def _multiplications(config: Config) -> int:
    """Of one image's forward pass through the student."""
    return costs.sides(config)["student"]["multiplications"]


def _measured(
    student: str,
    contestant: Contestant,
    seconds: Mapping[Contestant | Precision, list[float]],
    batch: int,
    cost_s: float,
) -> Measured:
    """cost_s: seconds of an image's forward multiplications at the machine's peak."""
    own = seconds[contestant]
    low, median, high = statistics.quantiles([batch / took for took in own], n=4, method="inclusive")

    def against(other: Contestant) -> float:
        return statistics.median(took / theirs for took, theirs in zip(own, seconds[other], strict=True))

    contestants = [other for other in seconds if isinstance(other, Contestant)]
    plain = next(other for other in contestants if (other.who, other.precision) == (PLAIN, contestant.precision))
    rivals = {other.who: other for other in contestants if _is_peer(other) and other.step == contestant.step}
    return Measured(
        student=student,
        contestant=contestant,
        images_per_s=median,
        low=low,
        high=high,
        against_plain=against(plain),
        against_peers={} if _is_peer(contestant) else {name: 1 / against(other) for name, other in rivals.items()},
        peak_share=_PASSES * cost_s * median if contestant.step != "hint" else None,
    )


def _is_peer(contestant: Contestant) -> bool:
    return contestant.who not in ("fitnets", PLAIN)


# --- contestants ---


@contextmanager
def _contestants(
    config: Config, data: Data, batch: int, precisions: Sequence[Precision], peers: Sequence[Peer]
) -> Iterator[dict[Contestant, Timed]]:
    """Each with networks of its own."""
    batches = [data.train.viewed(rows, 0, data.views(Augmentation())) for rows in torch.split(data.train.rows, batch)]
    device = data.train.images.device
    with tempfile.TemporaryDirectory() as root, ExitStack() as open_peers:
        steps: dict[Contestant, Timed] = {}
        for precision in precisions:
            found = _of_ours(config, data, batches, precision, Path(root))
            steps |= {contestant: _timed(step, device) for contestant, step in found.items()}
        for peer in peers:
            for kind, step in open_peers.enter_context(running(peer, config, batches[0])).items():
                told = Contestant(
                    who=peer.name, step=kind, precision="fp32", answers="live", computes=peer.computes[kind]
                )
                steps[told] = step
        yield steps


def _timed(step: Step, device: torch.device) -> Timed:
    return lambda: latency.timed(step, device, repeats=1, warm_up=0)[0]


def _of_ours(
    config: Config, data: Data, batches: list[Batch], precision: Precision, root: Path
) -> dict[Contestant, Step]:
    """And plain PyTorch's, on the same student in the same layout."""
    teacher = freeze(place(new_teacher(config), data.train.images.device, precision))
    teacher.set_preprocessing(Scale(), {})
    library = TeacherCache(root, teacher, precision, Terminal(quiet=True))
    student, _ = new_student(replace(config, method=Backprop()), teacher)
    student.set_preprocessing(Scale(), {})
    computes = _METHODS["backprop"][1]
    plain = Contestant(who=PLAIN, step="backprop", precision=precision, answers=None, computes=computes)
    steps = {plain: _plain(student, batches)}
    for name, answers in (("backprop", None), *_TEACHER):
        method, computes = _METHODS[name]
        _, (stage, *_) = new_student(replace(config, method=method), teacher)
        if answers == "cached":
            views = data.views(Augmentation())
            need = plan_cache(
                stage.teacher_layers, teacher, stage.settings, data, views=views, max_tables=1, budget_bytes=math.inf
            )
            stage.teacher_outputs = library.outputs(replace(need, cached=need.layers), data)
        whole = computes if answers is None else f"{computes}; {_TEACHER[name, answers]}"
        contestant = Contestant(who="fitnets", step=name, precision=precision, answers=answers, computes=whole)
        steps[contestant] = ours(stage, batches)
    return steps


def _random_images(config: Config, count: int, device: torch.device) -> Data:
    dataset = config.dataset
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, *image_shape(dataset), generator=generator).to(device)
    labels = torch.randint(dataset.classes, (count,), generator=generator).to(device)
    split = Split(images, labels, torch.arange(count, device=device))
    return Data(split, split, digest="random", view_seed=0)


def _plain(student: Network, batches: list[Batch]) -> Step:
    """As anybody would write it."""
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


def ours(stage: TrainingStage, batches: list[Batch]) -> Step:
    """An update of the stage's layers."""
    optimizer = LayerOptimizer(stage.layers, stage.settings, steps_per_epoch=1000)
    train_mode(stage)
    endless = cycle(batches)

    def step() -> None:
        loss, _ = stage.step(next(endless), 0)
        optimizer.update(loss)

    return step


def _product(device: torch.device, precision: Precision) -> Step:
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    first, second, product = (torch.rand(_SIDE, _SIDE, device=device).to(kind) for _ in range(3))
    return partial(_multiply, first, second, product)


def _multiply(first: Tensor, second: Tensor, product: Tensor) -> None:
    torch.mm(first, second, out=product)
