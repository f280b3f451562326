"""Decides which outputs of a teacher a stage reads from tables."""

import math
from dataclasses import dataclass

from fitnets.config import StageSettings
from fitnets.data.augmentation import Views
from fitnets.data.splits import Data
from fitnets.models.layers import LOGITS
from fitnets.models.network import Network
from fitnets.training.logit_codes import EXACT, LogitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """The teacher outputs that a stage needs, and which of them are cached.

    layers: the teacher's layers whose outputs the stage needs.
    views: augmented versions of the training images that the stage sees.
    tables: number of tables per layer for the training images; validation has one more.
    code: how logits for training images are stored.
    bytes: size of all tables of a layer, by layer.
    cached: layers that are read from tables; the others are computed at every step.
    reason: why layers are not cached, for messages."""

    layers: tuple[str, ...]
    views: Views
    tables: int
    code: LogitCode
    bytes: dict[str, int]
    cached: tuple[str, ...]
    reason: str


def plan_cache(
    layers: tuple[str, ...],
    teacher: Network,
    stage: StageSettings,
    data: Data,
    *,
    views: Views,
    max_tables: int,
    budget_bytes: float,
    code: LogitCode = EXACT,
) -> CachePlan:
    """Decide which teacher outputs of a stage are cached.

    Logits are cached, and features are cached if all tables of the layer fit into what other layers leave of
    `budget_bytes`. There are two exceptions. Nothing is cached if crops never repeat and the stage has more than
    `max_tables` different crops of an image. Nothing is cached if the stage is so short that making the tables would
    take longer than the stage."""
    tables = views.distinct_views(stage.epochs)
    images = len(data.train) * views.images_per_view
    sizes = {
        name: tables * images * bytes_per_image(teacher, name, code)
        + len(data.valid) * bytes_per_image(teacher, name, EXACT)
        for name in layers
    }
    cached = _within(budget_bytes, sizes)
    reason = "engine.hint_cache_gb allows less"
    if views.differ and views.count is None and tables > max_tables:
        cached, reason = (), "views never repeat; engine.views=16 repeats and caches 16 views of each image"
    elif stage.max_steps is not None and stage.max_steps * stage.batch_size < images:
        cached, reason = (), "the stage is too short to make up for computing them once"
    return CachePlan(layers=layers, views=views, tables=tables, code=code, bytes=sizes, cached=cached, reason=reason)


def _within(budget_bytes: float, sizes: dict[str, int]) -> tuple[str, ...]:
    """The layers that are cached: the logits, and as many others, in their order, as fit into the budget together."""
    cached, left = [], budget_bytes
    for name, size in sizes.items():
        if name == LOGITS:
            cached.append(name)
        elif size <= left:
            cached.append(name)
            left -= size
    return tuple(cached)


def bytes_per_image(teacher: Network, layer: str, code: LogitCode) -> int:
    """Size in bytes of what a table holds for an image."""
    if layer == LOGITS:
        return code.bytes_per_image(teacher.classes)
    return teacher.bytes_per_value(layer) * math.prod(teacher.layer_output(layer).out_shape)
