"""`fitnets doctor`: one batch through everything before the long run."""

import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fitnets.config import Config, Dataset, Folder, Wandb, image_shape
from fitnets.data import class_names, sources
from fitnets.data import splits as data_splits
from fitnets.data.class_balance import class_notes
from fitnets.data.splits import Batch, Split
from fitnets.data.test_split import has_test
from fitnets.models.hint_pair import hint_pair
from fitnets.models.network import Network, freeze
from fitnets.planning import estimates, readiness
from fitnets.planning.estimates import StageTime
from fitnets.planning.plan import Plan, prepare
from fitnets.planning.readiness import Readiness
from fitnets.progress import Progress
from fitnets.training.stages import TrainingStage, WholeNetworkStage, train_mode
from fitnets.training.teacher_cache import TeacherCache

_WANDB_S = 2.0
"""about what W&B takes to begin and end, offline"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """what: of which network or layer; shape: of one image's value there."""

    what: str
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLosses:
    """A term of a stage's loss on one batch of training images, before any training. weight: its factor; gradient: the
    L2 norm of the weighted term's gradient, over all that the stage trains."""

    stage: str
    term: str
    value: float
    weight: float
    gradient: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """bytes: of all tables of a layer's answers; looked_up: whether there will be any, else why not."""

    stage: str
    layer: str
    bytes: int
    looked_up: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """images: by split; classes: images of each class, by split; pixels: smallest, mean, largest value of a batch after
    preprocessing; cache_bytes: of all tables that are still to be made, those for evaluation and retraining included;
    peak_bytes: of this process, or on the GPU; preparing_s: until training would begin; teacher: its accuracy
    on the validation split, None for one that is still to be trained."""

    images: dict[str, int]
    classes: dict[str, list[int]]
    class_names: list[str]
    pixels: tuple[float, float, float]
    shapes: list[LayerShape]
    losses: list[StageLosses]
    cache: list[CacheSize]
    cache_bytes: int
    peak_bytes: int
    times: list[StageTime]
    preparing_s: float
    evaluation_s: float
    tracking_s: float
    warnings: list[str]
    teacher: Readiness | None = None

    @property
    def total_s(self) -> float:
        return self.preparing_s + self.evaluation_s + self.tracking_s + sum(stage.total_s for stage in self.times)


def examine(config: Config, progress: Progress) -> Examination:
    """Raises ConfigError as a run would; nothing is trained, images are decoded."""
    started = time.perf_counter()
    plan = prepare(config, progress)
    preparing_s = time.perf_counter() - started
    splits = {"train": plan.data.train, "valid": plan.data.valid}
    if has_test(config):
        splits["test"] = data_splits.load_test(config.dataset, config.root, plan.device, progress)
    noted = data_splits.notes(config.dataset, config.root, progress, test=has_test(config))
    names = class_names.numbered(plan.class_names.names, config.dataset.classes)
    classes = {name: split.class_counts(len(names)) for name, split in splits.items()}
    pixels = plan.data.train.batch(plan.data.train.rows[:500]).images
    library = None if plan.teacher is None else plan.teacher_cache(progress)
    untrained = plan.teacher_stage
    if plan.teacher_is_trained:
        plan.load_teacher()
        untrained = None
    times = estimates.stages(plan, estimates.THOROUGH_S, library if untrained is None else None)
    losses = [] if untrained is None else _losses(plan, untrained)
    ready = None
    if plan.teacher is not None:
        freeze(plan.teacher)
        ready = None if untrained is not None else readiness.evaluated(plan)
    losses += [loss for stage in plan.stages for loss in _losses(plan, stage)]
    tables = {} if library is None else _tables(plan, library, splits)
    return Examination(
        images={name: len(split) for name, split in splits.items()},
        classes=classes,
        class_names=names,
        pixels=(float(pixels.min()), float(pixels.mean()), float(pixels.max())),
        shapes=_shapes(plan),
        losses=losses,
        cache=_cache(plan),
        cache_bytes=sum(size for folder, size in tables.items() if not folder.exists()),
        times=times,
        evaluation_s=estimates.evaluation_s(plan, len(splits.get("test", ()))),
        peak_bytes=_peak_bytes(plan.device),
        preparing_s=preparing_s,
        tracking_s=_WANDB_S if isinstance(config.tracker, Wandb) else 0.0,
        warnings=[
            *noted,
            *_of_classes(plan, names, classes),
            *readiness.warnings(plan, ready),
            *_of_losses(losses),
        ],
        teacher=ready,
    )


def _shapes(plan: Plan) -> list[LayerShape]:
    dataset = plan.config.dataset
    rows = [LayerShape(what="images", name=_named(dataset, plan.config.root), shape=image_shape(dataset))]
    networks: dict[str, tuple[Network | None, str]] = {
        "teacher": (plan.teacher, plan.config.teacher.name),
        "student": (plan.student, plan.config.student.name),
    }
    pair = hint_pair(plan.config)
    for index, (side, (network, name)) in enumerate(networks.items()):
        if network is None:
            continue
        if pair is not None:
            what = f"{side}, {'hint' if side == 'teacher' else 'guided'} layer"
            rows.append(LayerShape(what=what, name=pair[index], shape=network.layer_output(pair[index]).out_shape))
        rows.append(LayerShape(what=f"{side}, logits", name=name, shape=(network.classes,)))
    if plan.hint is not None:
        rows.append(
            LayerShape(what="regressor", name=plan.hint.regressor.describe(), shape=plan.hint.regressor.hint_shape)
        )
    return rows


def _named(dataset: Dataset, root: Path) -> str:
    """With the sizes that its images have on the disk."""
    if not isinstance(dataset, Folder):
        return dataset.name
    smallest, largest = sources.sizes(dataset, root)
    return f"{dataset.path}: {smallest} to {largest} pixels, resized"


def _losses(plan: Plan, stage: TrainingStage) -> list[StageLosses]:
    """Of each term by itself."""
    train = plan.data.train
    batch = train.viewed(train.rows[: stage.settings.batch_size], 0, plan.views(stage))
    train_mode(stage)
    parameters = [p for part in stage.layers.values() for p in part.parameters() if p.requires_grad]
    return [
        StageLosses(
            stage=stage.name,
            term=name,
            value=float(value.detach()),
            weight=weight,
            gradient=weight * _norm(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)),
        )
        for name, value, weight in _terms(stage, batch)
    ]


def _terms(stage: TrainingStage, batch: Batch) -> list[tuple[str, Tensor, float]]:
    """(name, value, weight) of what the loss of a stage is the sum of."""
    loss, told = stage.step(batch, epoch=0)
    if not isinstance(stage, WholeNetworkStage):
        return [(stage.name, loss, 1.0)]
    found: list[tuple[str, Tensor, float]] = []
    for term in stage.terms:
        value = told[f"train_{term.name}_loss"]
        assert isinstance(value, Tensor)
        found.append((term.name, value, float(told.get(f"{term.name}_weight", 1.0))))
    return found


def _norm(gradients: tuple[Tensor | None, ...]) -> float:
    squares = [float(gradient.float().square().sum()) for gradient in gradients if gradient is not None]
    return math.sqrt(sum(squares))


def _cache(plan: Plan) -> list[CacheSize]:
    found = []
    for stage in plan.stages:
        need = plan.cache_plan(stage, plan.data)
        for layer in need.layers if need is not None else ():
            assert need is not None
            is_looked_up = layer in need.cached
            reason = "" if is_looked_up else need.reason
            size = need.bytes[layer]
            found.append(CacheSize(stage=stage.name, layer=layer, bytes=size, looked_up=is_looked_up, reason=reason))
    return found


def _tables(plan: Plan, library: TeacherCache, splits: dict[str, Split]) -> dict[Path, int]:
    """The folders of all tables that the run will look up, with their bytes."""
    config, found = plan.config, library.logits_table_size(splits["valid"])
    if "test" in splits:
        images = data_splits.test_identity(config.dataset, config.root)
        found |= library.logits_table_size(splits["test"], images)
    for stage in plan.stages:
        for seen in (plan.data, plan.data.whole())[: 1 + config.schedule.retrain_student]:
            need = plan.cache_plan(stage, seen)
            found |= library.table_sizes(need, seen) if need is not None else {}
    return found


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _of_classes(plan: Plan, names: list[str], classes: dict[str, list[int]]) -> Iterator[str]:
    if plan.class_names.note:
        yield plan.class_names.note
    yield from class_notes(names, classes)


def _of_losses(losses: list[StageLosses]) -> Iterator[str]:
    for loss in losses:
        if not (math.isfinite(loss.value) and math.isfinite(loss.gradient)):
            yield f"{loss.stage}: the {loss.term} loss is {loss.value}, its gradient {loss.gradient}: it will diverge"
        elif loss.gradient == 0:
            yield f"{loss.stage}: the {loss.term} loss has no gradient: nothing would be learnt from it"
