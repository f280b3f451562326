"""A teacher's answers to a batch: computed, or looked up in tables that are made once for all runs and processes.

A table holds the answers of one layer to one set of pictures (`views.Views`) of some images, in the order of their
rows, made in batches of a fixed size by whoever claims it first. It is finished and read-only from then on: mapped from
`store/cache/<hash>` by everybody. The hash holds the teacher's configuration and weights, rows, pictures, layer and
precision; a table that is opened has to agree with what the teacher answers to a few of its rows.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fitnets.config import Augmentation, StageSettings
from fitnets.config.options import content_hash
from fitnets.data.augmentation import Views
from fitnets.data.splits import Batch, Data, Split
from fitnets.errors import ConfigError, DamagedError
from fitnets.models.layers import LOGITS
from fitnets.models.network import Network
from fitnets.progress import Progress
from fitnets.store import digests, directories, files, layout, locks
from fitnets.store.layout import StoreLayout
from fitnets.system import permissions

_BATCH = 250
_WORTH_A_WORD = 100_000_000
"""bytes of a table"""
_CHECKED = 8
"""rows that are computed again when a table is opened"""
_ROUNDING = {"fp32": 1e-3, "bf16": 3e-2}
"""what batches of another size and other threads may change, as a share of the largest value"""
_OF_THE_SPREAD = 0.5
"""what other hardware may change, as a share of the distance between two images' answers"""
_PLAIN = Views(Augmentation(), seed=0)
_FORMAT = 2
"""1: test images may have been answered in training mode"""


class TeacherOutputs(Protocol):
    def __call__(self, batch: Batch, wanted: Collection[str]) -> dict[str, Tensor]:
        """Without gradients: LOGITS (N, classes) or features by layer. wanted: at least one of them."""


class LiveTeacher:
    """The teacher is run, and no further than the layer that is wanted."""

    def __init__(self, teacher: Network):
        self.teacher = teacher

    @torch.no_grad()
    def __call__(self, batch: Batch, wanted: Collection[str]) -> dict[str, Tensor]:
        assert not self.teacher.training, "a teacher answers in evaluation mode"
        if LOGITS not in wanted and len(wanted) == 1:
            (layer,) = wanted
            return {layer: self.teacher.forward_until(batch.images, layer)}
        logits, features = self.teacher(batch.images, [name for name in wanted if name != LOGITS])
        return {name: logits if name == LOGITS else features[name] for name in wanted}


class FixedOutputs:
    """The same answers whatever is asked, to measure what the rest of a step takes."""

    def __init__(self, answers: dict[str, Tensor]):
        self.teacher_outputs = answers

    def __call__(self, batch: Batch, wanted: Collection[str]) -> dict[str, Tensor]:
        return self.teacher_outputs


@dataclass(slots=True)
class _Tables:
    """One layer's tables for the views of a split; the one in use is open."""

    library: "TeacherCache"
    layer: str
    split: Split
    views: Views
    number: int | None = None
    table: Tensor | None = None
    positions: Tensor = field(init=False)

    def __post_init__(self) -> None:
        rows = self.split.rows
        self.positions = torch.full((len(self.split.labels),), -1, device=rows.device)
        self.positions[rows] = torch.arange(len(rows), device=rows.device)

    def open(self, view: int) -> Tensor:
        """The table for a view; made if it is not there."""
        number = view if self.views.crops else 0
        if self.table is None or number != self.number:
            self.table = None  # before there are two
            self.table = self.library.table(self.layer, self.split, self.views, number)
            self.number = number
        return self.table

    def __call__(self, batch: Batch) -> Tensor:
        view = batch.view or 0
        positions = self.positions[batch.rows]
        if self.views.images_per_view > 1:
            positions = positions + len(self.split) * self.views.pick(batch.rows, view)
        return self.open(view)[positions]


class CachedTeacher:
    """From tables: of training and of validation images, by what they answer. What has none is computed."""

    def __init__(self, teacher: Network, train: Mapping[str, _Tables], valid: Mapping[str, _Tables]):
        self.computed = LiveTeacher(teacher)
        self.train = train
        self.valid = valid

    def open(self, view: int) -> None:
        """Have the tables for a view of the training images at hand, made if they are not there."""
        for tables in self.train.values():
            tables.open(view)

    def __call__(self, batch: Batch, wanted: Collection[str]) -> dict[str, Tensor]:
        tables = self.valid if batch.view is None else self.train
        found = {name: tables[name](batch) for name in wanted if name in tables}
        rest = [name for name in wanted if name not in found]
        return found | self.computed(batch, rest) if rest else found


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """What a stage wants of its teacher. tables: how many of each for training, one more for validation (where the
    stage has one); bytes: of all tables of a layer; looked_up: the answers that are not computed at every step."""

    wanted: tuple[str, ...]
    views: Views
    tables: int
    bytes: dict[str, int]
    looked_up: tuple[str, ...]
    reason: str
    """for what is not looked up"""


def plan_cache(
    wanted: tuple[str, ...],
    teacher: Network,
    stage: StageSettings,
    data: Data,
    *,
    views: Views,
    most: int,
    budget_bytes: float,
) -> CachePlan:
    """Of a stage. Logits are looked up unless there are more than `most` different crops of an image that never come
    again, or the stage is so short that the tables would take longer than it; other layers' answers where their tables
    also fit the budget."""
    tables = views.distinct_views(stage.epochs)
    images = len(data.train) * views.images_per_view
    sizes = {name: (tables * images + len(data.valid)) * _bytes_per_image(teacher, name) for name in wanted}
    fitting = tuple(name for name in wanted if name == LOGITS or sizes[name] <= budget_bytes)
    reason = "engine.hint_cache_gb allows less"
    if views.crops and views.count is None and tables > most:
        fitting, reason = (), "crops never come again, with engine.views=16 they would after 16 epochs"
    elif stage.max_steps is not None and stage.max_steps * stage.batch_size < images:
        fitting, reason = (), "a stage this short would not make up for computing them once"
    return CachePlan(wanted=wanted, views=views, tables=tables, bytes=sizes, looked_up=fitting, reason=reason)


def _bytes_per_image(teacher: Network, name: str) -> int:
    if name == LOGITS:
        return 4 * teacher.classes
    return teacher.bytes_per_value(name) * math.prod(teacher.layer_output(name).out_shape)


class TeacherCache:
    """The tables of a frozen teacher in a store.

    teacher_hash: of what it was made from, images and precision included."""

    def __init__(self, root: Path, teacher: Network, teacher_hash: str, progress: Progress):
        self.root = root
        self.teacher = teacher
        self.teacher_hash = teacher_hash
        self.progress = progress

    def answers(self, need: CachePlan, data: Data) -> CachedTeacher:
        """Raises ConfigError if the disk lacks room for the tables that are not there yet."""
        missing = [
            request for request in self._requests(need, data) if not self._folder(self._identity(request)).exists()
        ]
        self._check_space(missing)
        train = {name: _Tables(self, name, data.train, need.views) for name in need.looked_up}
        valid = {name: _Tables(self, name, data.valid, _PLAIN) for name in need.looked_up}
        return CachedTeacher(self.teacher, train, valid)

    def _requests(self, need: CachePlan, data: Data) -> list["TableKey"]:
        """The tables that a stage looks its answers up in."""
        train = [TableKey(name, data.train, need.views, view) for name in need.looked_up for view in range(need.tables)]
        return train + [TableKey(name, data.valid, _PLAIN, 0) for name in need.looked_up]

    def room(self, need: CachePlan, data: Data) -> dict[Path, int]:
        """The folders of these tables, whether they are there or not, with their bytes."""
        return {self._folder(self._identity(request)): self._bytes(request) for request in self._requests(need, data)}

    def room_for_logits(self, split: Split, images: str = "") -> dict[Path, int]:
        """The same of `logits`."""
        request = TableKey(LOGITS, split, _PLAIN, 0, images)
        return {self._folder(self._identity(request)): self._bytes(request)}

    def missing_answers(self, need: CachePlan, data: Data) -> int:
        """To how many pictures, in all layers together, the teacher's answers are still to be computed."""
        requests = self._requests(need, data)
        return sum(request.rows for request in requests if not self._folder(self._identity(request)).exists())

    def _bytes(self, request: "TableKey") -> int:
        return request.rows * _bytes_per_image(self.teacher, request.layer)

    def logits(self, split: Split, images: str = "") -> Tensor:
        """(N, classes): of the images of a split as they are. images: what they are, if not those of the teacher's
        own data."""
        return self._table(TableKey(LOGITS, split, _PLAIN, 0, images))

    def table(self, layer: str, split: Split, views: Views, number: int) -> Tensor:
        """(pictures x N, ...): the answers to all pictures of a split's images; made if they are not there."""
        return self._table(TableKey(layer, split, views, number))

    def _table(self, request: "TableKey") -> Tensor:
        identity = self._identity(request)
        folder = self._folder(identity)
        if not folder.exists():
            with locks.locked(folder, f"the teacher's {request.layer} answers", self.progress.say):
                if not folder.exists():
                    self._make(request, identity, folder)
        with files.made_again(folder):
            table = _read(folder, self.root)
        self._check(request, table, folder)
        return _as_images(table.flatten(0, 1)).to(request.split.rows.device)

    def _identity(self, request: "TableKey") -> dict[str, Any]:
        return {
            "teacher": self.teacher_hash,
            "weights": self.weights_digest,
            "images": request.images,
            "rows": digests.of_tensors(request.split.rows),
            "layer": request.layer,
            "pictures": request.views.identity(request.number),
        }

    def _folder(self, identity: dict[str, Any]) -> Path:
        return StoreLayout(self.root).cache(content_hash("answers", _FORMAT, identity))

    def _check_space(self, missing: Sequence["TableKey"]) -> None:
        size = sum(map(self._bytes, missing))
        self.root.mkdir(parents=True, exist_ok=True)
        way_out = "give another store=..., or engine.hint_cache_gb=0, which computes hints at every step"
        files.check_space(self.root, size, "the teacher's answers", way_out)

    @cached_property
    def weights_digest(self) -> str:
        return digests.of_state(self.teacher)

    def _make(self, request: "TableKey", identity: dict[str, Any], folder: Path) -> None:
        split, pictures = request.split, request.views.images_per_view
        size = self._bytes(request)
        self._check_space([request])
        if size >= _WORTH_A_WORD:
            what = f"{request.layer} answers to {len(split)} images{_in_words(request)}"
            self.progress.say(f"the teacher's {what}: {size / 1e9:.2f} GB in {folder}")
        with directories.fill(folder) as partial:
            path, table = partial / layout.TEACHER_OUTPUTS, None
            batches = torch.split(split.rows, _BATCH)
            for index in self.progress.track(range(len(batches)), f"teacher's {request.layer}"):
                answered = torch.stack(self._answered(request, batches[index]))
                if table is None:
                    shape = (pictures, len(split), *answered.shape[2:])
                    table = np.lib.format.open_memmap(path, "w+", _as_numpy(answered).dtype, shape)
                    files.allocate(path)
                table[:, index * _BATCH : index * _BATCH + answered.shape[1]] = _as_numpy(answered)
            assert table is not None
            table.flush()
            path.chmod(0o444)
            made = {
                "dtype": str(answered.dtype).removeprefix("torch."),
                "made_on": f"{split.rows.device.type}, {torch.get_num_threads()} threads",
                "sha256": digests.of_file(path, None),
            }
            files.write_json(partial / layout.META, identity | made)

    @torch.no_grad()
    def _answered(self, request: "TableKey", rows: Tensor) -> list[Tensor]:
        """(N, ...) for each picture of an image, channels last."""
        split, views = request.split, request.views
        pictures = views.all_versions(split.images[rows], rows, request.number)
        computed = LiveTeacher(self.teacher)
        answered = [
            computed(Batch(images, split.labels[rows], rows), [request.layer])[request.layer] for images in pictures
        ]
        return [_channels_last(answer).contiguous() for answer in answered]

    def _check(self, request: "TableKey", table: Tensor, folder: Path) -> None:
        """Raises ConfigError where the table is not what the teacher answers."""
        places = torch.linspace(0, len(request.split) - 1, min(_CHECKED, len(request.split))).long()
        answered = torch.stack(self._answered(request, request.split.rows[places.to(request.split.rows.device)])).cpu()
        answered = answered.double().flatten(2)  # (pictures, rows, values)
        apart = table[:, places].double().flatten(2) - answered
        allowed = _OF_THE_SPREAD * (answered - answered.mean(dim=1, keepdim=True)).norm(dim=2).mean()
        is_rounding = apart.abs().amax(dim=2) <= _ROUNDING[self.teacher.precision] * answered.abs().max()
        is_right = is_rounding | (apart.norm(dim=2) <= allowed)  # neither where a value is not finite
        if not bool(is_right.all()):
            wrong = int(places[int(is_right.all(dim=0).int().argmin())])
            raise ConfigError(
                f"{folder} holds other {request.layer} answers than the teacher gives, to the image in row "
                f"{int(request.split.rows[wrong])} for one: they are of other rows, another view or another teacher. "
                f"Remove {folder}, and it is made again"
            )


@dataclass(frozen=True, slots=True)
class TableKey:
    """A layer's answers to the pictures of a split's images. images: as for `Library.logits`."""

    layer: str
    split: Split
    views: Views
    number: int
    images: str = ""

    @property
    def rows(self) -> int:
        """Of the table."""
        return self.views.images_per_view * len(self.split)


def _in_words(request: TableKey) -> str:
    if request.views.crops:
        return f" in view {request.number}"
    return ", mirrored and not" if request.views.images_per_view > 1 else ""


def _read(folder: Path, root: Path) -> Tensor:
    """(pictures, N, ...), channels last, mapped. Raises DamagedError."""
    meta, path = files.read_json(folder / layout.META), folder / layout.TEACHER_OUTPUTS
    try:
        if digests.of_file(path, root) != meta["sha256"]:
            raise ValueError("its content is not what was written")
        array = np.load(path, mmap_mode="c")  # copy on write: PyTorch wants it writable, the file stays as it is
    except (*permissions.DAMAGE, KeyError) as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error
    return torch.from_numpy(array).view(getattr(torch, meta["dtype"]))


def _as_numpy(values: Tensor) -> Any:
    """NumPy has no bf16: its bits stand for it."""
    values = values.cpu()
    return (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()


def _channels_last(answered: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), as `networks.placed` has it but for fp32 on a GPU; others as they are."""
    return answered.permute(0, 2, 3, 1) if answered.ndim == 4 else answered


def _as_images(table: Tensor) -> Tensor:
    return table.permute(0, 3, 1, 2) if table.ndim == 4 else table
