"""`fitnets doctor`: sends one batch through everything before the long run, and collects what the run will need."""

import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fitnets.config import Config, Dataset, Folder, Wandb, image_shape
from fitnets.data import class_names, sources
from fitnets.data import splits as data_splits
from fitnets.data.augmentation import Views
from fitnets.data.class_balance import class_notes
from fitnets.data.eight_bit import EightBitImages
from fitnets.data.splits import Batch, Split
from fitnets.data.unread import has_test
from fitnets.models.hint_pair import links
from fitnets.models.network import Network, freeze
from fitnets.planning import estimates, readiness
from fitnets.planning.estimates import FasterPrecision, StageTime
from fitnets.planning.plan import Plan, prepare
from fitnets.planning.readiness import Readiness
from fitnets.progress import Progress
from fitnets.training.stages import Stage, train_mode
from fitnets.training.teacher_cache import TeacherCache

_TIMED_BATCHES = 4
"""batches whose way into the network is timed"""
_WANDB_S = 2.0
"""seconds that W&B takes to start and to finish, offline"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """The shape of one image's value at a place in the networks.

    what: the place, such as "teacher, hint layer"
    name: the layer's name, the network's name or the description of the regressor
    shape: without the batch dimension"""

    what: str
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLosses:
    """One term of a stage's loss on one batch of training images, before any training.

    value: the unweighted loss, in the unit of its equation
    weight: the largest factor of the term in the sum, over the epochs of the stage
    gradient: L2 norm of the weighted term's gradient with respect to all parameters that the stage trains"""

    stage: str
    term: str
    value: float
    weight: float
    gradient: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """The cached outputs of one teacher layer for one stage.

    bytes: size of all tables of the layer
    looked_up: whether the outputs are cached; else the teacher runs at every step
    reason: why they are not cached; empty if they are"""

    stage: str
    layer: str
    bytes: int
    looked_up: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The images on their way into the student's last stage.

    stored_bytes: size of all stored training and validation images
    is_streamed: whether they are read from their file batch by batch; else they are in the memory of the device, or on
        a CPU mapped from the file
    images_per_s: images that selection, augmentation and preprocessing deliver in a second, on their own
    trained_per_s: images that the stage trains on in a second, their selection included"""

    stored_bytes: int
    is_streamed: bool
    images_per_s: float
    trained_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The measurements of `fitnets doctor`. Fields are the keys of `--json`.

    images: number of images, by split
    classes: number of images of each class, by split
    pixels: smallest, mean and largest value of a batch after preprocessing
    input: None if no stage of the student is left to train
    cache: the cached teacher outputs, by stage and layer
    cache_bytes: size of all cache tables that do not exist yet, including tables for evaluation and retraining
    peak_bytes: peak memory of this process, or of the GPU
    times: the stages that are not trained yet
    faster: the other precision, if these stages are faster in it
    preparing_s: seconds until training starts
    evaluation_s: seconds of evaluation after training
    tracking_s: seconds that W&B adds
    teacher: accuracy on the validation split; None for a teacher that will be trained"""

    images: dict[str, int]
    classes: dict[str, list[int]]
    class_names: list[str]
    pixels: tuple[float, float, float]
    input: Input | None
    shapes: list[LayerShape]
    losses: list[StageLosses]
    cache: list[CacheSize]
    cache_bytes: int
    peak_bytes: int
    times: list[StageTime]
    faster: FasterPrecision | None
    preparing_s: float
    evaluation_s: float
    tracking_s: float
    warnings: list[str]
    teacher: Readiness | None = None

    @property
    def total_s(self) -> float:
        return self.preparing_s + self.evaluation_s + self.tracking_s + sum(stage.total_s for stage in self.times)


def examine(config: Config, progress: Progress) -> Examination:
    """Prepare the run of a configuration and examine it with one batch. Images are decoded; nothing is trained.

    Raises every ConfigError that the run itself would raise before training."""
    started = time.perf_counter()
    plan = prepare(config, progress)
    preparing_s = time.perf_counter() - started
    splits = {"train": plan.data.train, "valid": plan.data.valid}
    if has_test(config):
        splits["test"] = data_splits.load_test(config.dataset, config.root, plan.device, progress)
    data_notes = data_splits.notes(config.dataset, config.root, progress, test=has_test(config))
    names = class_names.number_labels(plan.class_names.names, config.dataset.classes)
    classes = {name: split.class_counts(len(names)) for name, split in splits.items()}
    pixels = plan.data.train.batch(plan.data.train.rows[:500]).images
    cache = None if plan.teacher is None else plan.teacher_cache(progress)
    stage_to_train = plan.teacher_stage
    if plan.teacher_is_trained:
        plan.load_teacher()
        stage_to_train = None
    times = estimates.stage_times(plan, estimates.THOROUGH_S, cache if stage_to_train is None else None)
    faster = estimates.faster_precision(plan, estimates.THOROUGH_S)
    losses = [] if stage_to_train is None else _losses(plan, stage_to_train)
    ready = None
    if plan.teacher is not None:
        freeze(plan.teacher)
        ready = readiness.evaluate(plan) if stage_to_train is None else None
    losses += [loss for stage in plan.stages for loss in _losses(plan, stage)]
    tables = {} if cache is None else _tables(plan, cache, splits)
    return Examination(
        images={name: len(split) for name, split in splits.items()},
        classes=classes,
        class_names=names,
        pixels=(float(pixels.min()), float(pixels.mean()), float(pixels.max())),
        input=_input(plan, times),
        shapes=_shapes(plan),
        losses=losses,
        cache=_cache_sizes(plan),
        cache_bytes=sum(size for folder, size in tables.items() if not folder.exists()),
        times=times,
        faster=faster,
        evaluation_s=estimates.evaluation_s(plan, len(splits.get("test", ()))),
        peak_bytes=_peak_bytes(plan.device),
        preparing_s=preparing_s,
        tracking_s=_WANDB_S if isinstance(config.tracker, Wandb) else 0.0,
        warnings=[
            *data_notes,
            *_class_warnings(plan, names, classes),
            *readiness.warnings(plan, ready),
            *_loss_warnings(losses),
        ],
        teacher=ready,
    )


def _input(plan: Plan, times: list[StageTime]) -> Input | None:
    stage, train = plan.stages[-1], plan.data.train
    updates = [time for time in times if time.name == stage.name]
    views, batch_size, images = plan.views(stage), stage.settings.batch_size, train.images
    all_rows = [rows for rows in torch.split(train.rows, batch_size) if len(rows) == batch_size][:_TIMED_BATCHES]
    if not (updates and all_rows):
        return None
    each_s = estimates.median_s(partial(_drain, train, all_rows, views), plan.device, estimates.QUICK_S) / len(all_rows)
    pixels = images.pixels if isinstance(images, EightBitImages) else None
    return Input(
        stored_bytes=4 * math.prod(images.shape) if pixels is None else pixels.bytes,
        is_streamed=pixels is not None and pixels.is_streamed,
        images_per_s=batch_size / each_s,
        trained_per_s=batch_size / updates[0].step_s,
    )


def _drain(split: Split, all_rows: list[Tensor], views: Views) -> None:
    for _ in split.in_view(all_rows, 0, views):
        pass


def _shapes(plan: Plan) -> list[LayerShape]:
    dataset = plan.config.dataset
    rows = [LayerShape(what="images", name=_dataset_name(dataset, plan.config.root), shape=image_shape(dataset))]
    networks: dict[str, tuple[Network | None, str]] = {
        "teacher": (plan.teacher, plan.config.teacher.name),
        "student": (plan.student, plan.config.student.name),
    }
    connected = links(plan.config)
    for side, (network, name) in networks.items():
        if network is None:
            continue
        for layer in dict.fromkeys(link.hint if side == "teacher" else link.guided for link in connected):
            what = f"{side}, {'hint' if side == 'teacher' else 'guided'} layer"
            rows.append(LayerShape(what=what, name=layer, shape=network.layer_output(layer).out_shape))
        rows.append(LayerShape(what=f"{side}, logits", name=name, shape=(network.classes,)))
    rows += [
        LayerShape(what="regressor", name=regressor.describe(), shape=regressor.hint_shape)
        for regressor in plan.regressors
    ]
    return rows


def _dataset_name(dataset: Dataset, root: Path) -> str:
    """The name of the data set; for a folder its path, with the sizes of the images on the disk."""
    if not isinstance(dataset, Folder):
        return dataset.name
    smallest, largest = sources.sizes(dataset, root)
    return f"{dataset.path}: {smallest} to {largest} pixels, resized"


def _losses(plan: Plan, stage: Stage) -> list[StageLosses]:
    """The loss terms of a stage on its first batch, each with its own gradient."""
    train = plan.data.train
    batch = train.augmented(train.rows[: stage.settings.batch_size], 0, plan.views(stage))
    train_mode(stage)
    parameters = [p for part in stage.layers.values() for p in part.parameters() if p.requires_grad]
    return [
        StageLosses(
            stage=stage.name,
            term=name,
            value=float(value.detach()),
            weight=weight,
            gradient=weight * _l2_norm(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)),
        )
        for name, value, weight in _terms(stage, batch)
    ]


def _terms(stage: Stage, batch: Batch) -> list[tuple[str, Tensor, float]]:
    """(name, value, weight) of every term whose weighted sum is the stage's loss."""
    loss, values = stage.step(batch, epoch=0)
    if not values:
        return [(stage.terms[0].name, loss, 1.0)]
    terms: list[tuple[str, Tensor, float]] = []
    for term in stage.terms:
        value = values[f"train_{term.name}_loss"]
        assert isinstance(value, Tensor)
        terms.append((term.name, value, max(map(term.weight, range(stage.settings.epochs)))))
    return terms


def _l2_norm(gradients: tuple[Tensor | None, ...]) -> float:
    squares = [float(gradient.float().square().sum()) for gradient in gradients if gradient is not None]
    return math.sqrt(sum(squares))


def _cache_sizes(plan: Plan) -> list[CacheSize]:
    sizes = []
    for stage in plan.stages:
        cache_plan = plan.cache_plan(stage, plan.data)
        if cache_plan is None:
            continue
        for layer in cache_plan.layers:
            is_cached = layer in cache_plan.cached
            sizes.append(
                CacheSize(
                    stage=stage.name,
                    layer=layer,
                    bytes=cache_plan.bytes[layer],
                    looked_up=is_cached,
                    reason="" if is_cached else cache_plan.reason,
                )
            )
    return sizes


def _tables(plan: Plan, cache: TeacherCache, splits: dict[str, Split]) -> dict[Path, int]:
    """Folder and size in bytes of every cache table that the run uses, existing or not."""
    config, tables = plan.config, cache.logits_table_size(splits["valid"])
    if "test" in splits:
        images = data_splits.test_identity(config.dataset, config.root)
        tables |= cache.logits_table_size(splits["test"], images)
    for stage in plan.stages:
        for data in (plan.data, plan.data.with_validation())[: 1 + config.schedule.retrain_student]:
            cache_plan = plan.cache_plan(stage, data)
            tables |= cache.table_sizes(cache_plan, data) if cache_plan is not None else {}
    return tables


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit_bytes = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS and KiB on Linux
    return unit_bytes * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _class_warnings(plan: Plan, names: list[str], classes: dict[str, list[int]]) -> Iterator[str]:
    if plan.class_names.note:
        yield plan.class_names.note
    yield from class_notes(names, classes)


def _loss_warnings(losses: list[StageLosses]) -> Iterator[str]:
    for loss in losses:
        if not (math.isfinite(loss.value) and math.isfinite(loss.gradient)):
            yield (
                f"{loss.stage}: the {loss.term} loss is {loss.value} and its gradient {loss.gradient}: this stage will "
                "diverge"
            )
        elif loss.gradient == 0:
            yield f"{loss.stage}: the {loss.term} loss has no gradient: nothing would be learnt from it"
