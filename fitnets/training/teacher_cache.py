"""Cached teacher outputs, read from tables that are made once for all runs and processes.

A table holds the outputs of one teacher layer for the images of one split, either in one view
(`data.augmentation.Views`) or as they are and mirrored. The first process that locks a table makes it, in batches of a
fixed size. Afterwards the table is read-only, and every process maps it from `store/cache/<hash>`. The hash covers the
teacher's configuration and weights, the rows, the augmentation, the layer and the precision. Whenever a table is
opened, the teacher computes a few of its rows again, and they must agree.
"""

import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fitnets.config import Augmentation
from fitnets.config.options import content_hash
from fitnets.data.augmentation import Views
from fitnets.data.splits import Batch, Data, Split
from fitnets.errors import ConfigError, DamagedError
from fitnets.models.layers import LOGITS
from fitnets.models.network import Network
from fitnets.parallel.group import ALONE, Group
from fitnets.progress import Progress
from fitnets.signals import admit_signals
from fitnets.store import digests, directories, files, locks
from fitnets.store.layout import StoreLayout
from fitnets.system import permissions
from fitnets.training.cache_plan import CachePlan, bytes_per_image
from fitnets.training.logit_codes import EXACT, LogitCode
from fitnets.training.teacher_outputs import LiveTeacher

_BATCH_SIZE = 250
"""images per batch when a table is made"""
_ANNOUNCED_BYTES = 100_000_000
"""size from which a table is announced before it is made"""
_CHECKED_ROWS = 8
"""rows that are computed again when a table is opened"""
_ROUNDING_TOLERANCE = {"fp32": 1e-3, "bf16": 3e-2}
"""tolerance for other batch sizes and thread counts, by precision, relative to the largest value"""
_HARDWARE_TOLERANCE = 0.5
"""tolerance for tables made on other hardware, relative to the mean distance of an output from the mean output"""
_UNAUGMENTED = Views(Augmentation(), seed=0)
OPENED, SHARE = "opened", "share of a table"
"""orders of process 0 in a group"""
_SEEN_S = 60.0
"""Seconds after which a folder that another host has made is missing; NFS may show it late."""
_FORMAT = 2
"""part of a table's hash; format 1 may hold outputs for test images that were computed in training mode"""


@dataclass(slots=True)
class _LayerTables:
    """One layer's tables for the views of a split. At most one of them is open."""

    cache: "TeacherCache"
    layer: str
    split: Split
    views: Views
    code: LogitCode
    open_view: int | None = None
    table: Tensor | None = None
    positions: Tensor = field(init=False)
    """position in the split of each row of the data set; -1 for rows of other splits"""

    def __post_init__(self) -> None:
        rows = self.split.rows
        self.positions = torch.full((len(self.split.labels),), -1, device=rows.device)
        self.positions[rows] = torch.arange(len(rows), device=rows.device)

    def open(self, view: int) -> Tensor:
        """Return the table for a view. A missing table is made first."""
        table_view = view if self.views.differ else 0
        if self.table is None or table_view != self.open_view:
            self.table = None  # frees the memory of the open table first
            self.table = self.cache.table(TableKey(self.layer, self.split, self.views, table_view, code=self.code))
            self.open_view = table_view
        return self.table

    def __call__(self, batch: Batch) -> Tensor:
        view = batch.view or 0
        positions = self.positions[batch.rows]
        if self.views.images_per_view > 1:
            positions = positions + len(self.split) * self.views.pick(batch.rows, view)
        return self.decoded(self.open(view)[positions])

    def decoded(self, rows: Tensor) -> Tensor:
        """Rows of a table as the teacher's outputs."""
        return self.code.decode(rows, self.cache.teacher.classes) if self.layer == LOGITS else rows


class CachedTeacher:
    """Teacher outputs read from tables, one set of tables per split; layers without a table are computed.

    train, valid: the tables for training and validation images, by layer."""

    def __init__(self, teacher: Network, train: Mapping[str, _LayerTables], valid: Mapping[str, _LayerTables]):
        self.live = LiveTeacher(teacher)
        self.train = train
        self.valid = valid

    def open(self, view: int, group: Group = ALONE, *, validation: bool = False) -> None:
        """Open the tables for a view of the training images. Missing tables are made first, which may take long.

        group: processes that call this together. Process 0 makes the tables, and the others compute a share of them.
        validation: in a group, open the tables of the validation images too"""
        if group.size == 1:
            self._open(self.train, view)
            return
        if not group.leads:
            group.obey(OPENED)
        try:
            with admit_signals():
                self._open(self.train, view)
                self._open(self.valid if validation else {}, view)
        except BaseException as error:
            group.agreed_error(error)  # the others still wait for the order
            raise
        if group.leads:
            group.order(OPENED)

    def _open(self, all_tables: Mapping[str, _LayerTables], view: int) -> None:
        for tables in all_tables.values():
            tables.open(view)

    def __call__(self, batch: Batch, layers: Collection[str]) -> dict[str, Tensor]:
        tables = self.valid if batch.view is None else self.train
        cached = {name: tables[name](batch) for name in layers if name in tables}
        uncached = [name for name in layers if name not in cached]
        return cached | self.live(batch, uncached) if uncached else cached


class TeacherCache:
    """The tables of a frozen teacher in a store.

    root: folder of the store.
    teacher_hash: hash of everything that the teacher was made from, with its training images and its precision.
    progress: shows messages and the progress of making tables.
    group: the processes that compute a table together. Process 0 alone locks and writes."""

    def __init__(self, root: Path, teacher: Network, teacher_hash: str, progress: Progress, group: Group = ALONE):
        self.group = group
        self.root = root
        self.teacher = teacher
        self.teacher_hash = teacher_hash
        self.progress = progress

    def outputs(self, plan: CachePlan, data: Data) -> CachedTeacher:
        """Return the cached teacher for a stage. Tables are made when they are first opened.

        Raises ConfigError if the disk lacks space for the missing tables."""
        if self.group.leads:
            self._check_space(self._missing(plan, data))
        train = {name: _LayerTables(self, name, data.train, plan.views, plan.code) for name in plan.cached}
        valid = {name: _LayerTables(self, name, data.valid, _UNAUGMENTED, EXACT) for name in plan.cached}
        return CachedTeacher(self.teacher, train, valid)

    def table_sizes(self, plan: CachePlan, data: Data) -> dict[Path, int]:
        """Return folder and size in bytes of every table that the stage would use, existing or not."""
        return {self._folder(self._identity(key)): self._bytes(key) for key in _table_keys(plan, data)}

    def logits_table_size(self, split: Split, images: str = "") -> dict[Path, int]:
        """Return folder and size in bytes of the table that `logits` reads, existing or not."""
        key = TableKey(LOGITS, split, _UNAUGMENTED, 0, images)
        return {self._folder(self._identity(key)): self._bytes(key)}

    def missing_outputs(self, plan: CachePlan, data: Data) -> int:
        """Return the number of outputs that are still to be computed for the plan's tables, of all layers together."""
        return sum(key.rows for key in self._missing(plan, data))

    def logits(self, split: Split, images: str = "") -> Tensor:
        """Return the teacher's logits (N, classes) for the images of a split, without augmentation.

        images: hash of the images if they come from other data than the teacher's; else empty."""
        return self.table(TableKey(LOGITS, split, _UNAUGMENTED, 0, images))

    @cached_property
    def weights_digest(self) -> str:
        """Hash of the teacher's weights."""
        return digests.of_state(self.teacher)

    def _missing(self, plan: CachePlan, data: Data) -> list["TableKey"]:
        return [key for key in _table_keys(plan, data) if not self._folder(self._identity(key)).exists()]

    def _bytes(self, key: "TableKey") -> int:
        return key.rows * bytes_per_image(self.teacher, key.layer, key.code)

    def _identity(self, key: "TableKey") -> dict[str, Any]:
        return {
            "teacher": self.teacher_hash,
            "weights": self.weights_digest,
            "images": key.images,
            "rows": digests.of_tensors(key.split.rows),
            "layer": key.layer,
            "pictures": key.views.identity(key.view),
            **({} if key.code == EXACT else {"logits": key.code.kept}),
        }

    def _folder(self, identity: dict[str, Any]) -> Path:
        return StoreLayout(self.root).cache(content_hash("answers", _FORMAT, identity))

    def _check_space(self, missing: Sequence["TableKey"]) -> None:
        size = sum(map(self._bytes, missing))
        self.root.mkdir(parents=True, exist_ok=True)
        way_out = "give another store=..., or engine.hint_cache_gb=0, which computes hints at every step"
        files.check_space(self.root, size, "the teacher's outputs", way_out)

    def table(self, key: "TableKey") -> Tensor:
        """Return a table (versions x N, ...). A missing one is made first."""
        identity = self._identity(key)
        folder = self._folder(identity)
        if not self.group.leads:
            _await(folder)
        elif not folder.exists():
            with locks.locked(folder, f"the teacher's {key.outputs}", self.progress.say):
                if not folder.exists():
                    self._make(key, identity, folder)
        with files.advise_removal(folder):
            table = _read(folder, self.root if self.group.leads else None)
        self._check(key, table, folder)
        return _channels_first(table.flatten(0, 1)).to(key.split.rows.device)

    def _make(self, key: "TableKey", identity: dict[str, Any], folder: Path) -> None:
        self._check_space([key])
        size = self._bytes(key)
        if size >= _ANNOUNCED_BYTES:
            outputs = f"{key.outputs} for {len(key.split)} images{_in_words(key)}"
            self.progress.say(f"the teacher's {outputs}: {size / 1e9:.2f} GB in {folder}")
        with directories.fill(folder) as partial:
            path = partial / "answers.npy"
            dtype = self._write(key, path)
            facts = {
                "dtype": str(dtype).removeprefix("torch."),
                "made_on": f"{key.split.rows.device.type}, {torch.get_num_threads()} threads",
                "sha256": digests.of_file(path, None),
            }
            files.write_json(partial / "meta.json", identity | facts)

    def _write(self, key: "TableKey", path: Path) -> torch.dtype:
        """Compute a table into a file; return the type of its values."""
        split, table = key.split, None
        batches = torch.split(split.rows, _BATCH_SIZE)
        with closing(self._all_computed(key, batches)) as of_batches:
            for index in self.progress.track(range(len(batches)), f"teacher's {key.layer}"):
                outputs = next(of_batches)
                if table is None:
                    shape = (key.views.images_per_view, len(split), *outputs.shape[2:])
                    table = np.lib.format.open_memmap(path, "w+", _as_numpy(outputs).dtype, shape)
                    files.allocate(path)
                table[:, index * _BATCH_SIZE : index * _BATCH_SIZE + outputs.shape[1]] = _as_numpy(outputs)
            next(of_batches, None)  # the last round of the other processes
        assert table is not None
        table.flush()
        path.chmod(0o444)
        return outputs.dtype

    def _all_computed(self, key: "TableKey", batches: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """The outputs of all batches, in their order: (versions, N, ...) each."""
        if self.group.size == 1 or key.images:  # the other processes have no other images than the teacher's
            yield from (torch.stack(self._computed(key, rows)) for rows in batches)
            return
        rows = key.split.rows.cpu()
        self.group.order(SHARE, (key.layer, key.code, key.views, key.view, rows, self.weights_digest))
        with self.group.together():
            self._share_weights(self.weights_digest)
            yield from self._shared(key, batches)

    def compute_share(self, split: Split, content: Any) -> None:
        """Compute this process's share of a table that process 0 writes. content: of the order"""
        layer, code, views, view, rows, weights_digest = content
        split = replace(split, rows=rows.to(split.rows.device))
        key = TableKey(layer, split, views, view, code=code)
        with self.group.together():
            self._share_weights(weights_digest)
            for _ in self._shared(key, torch.split(split.rows, _BATCH_SIZE)):
                pass

    def _share_weights(self, digest: str) -> None:
        """Give the teacher of each process the weights of process 0, unless all have them."""
        if any(self.group.gathered(digests.of_state(self.teacher) != digest)):
            weights = self.teacher.state_dict()
            on_cpu = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in weights.items()}
            self.teacher.load_state_dict(self.group.from_leader(on_cpu))

    def _shared(self, key: "TableKey", batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The outputs of all batches in process 0; each process has computed some. The processes agree after each
        round whether to go on."""
        for start in range(0, len(batches), self.group.size):
            last = len(batches) - 1
            own = torch.stack(self._computed(key, batches[min(start + self.group.rank, last)])).cpu()
            for index, outputs in enumerate(self.group.collected(own)):
                if start + index <= last:
                    yield outputs
            self.group.agree()
            self.group.raise_stopped()

    @torch.no_grad()
    def _computed(self, key: "TableKey", rows: Tensor) -> list[Tensor]:
        """Compute the outputs for each version of the images: (N, ...) each, channels last."""
        versions = key.views.all_versions(key.split.images, rows, key.view, key.split.rows)
        live = LiveTeacher(self.teacher)
        outputs = [live(Batch(images, key.split.labels[rows], rows), [key.layer])[key.layer] for images in versions]
        if key.layer == LOGITS:
            outputs = [key.code.encode(logits) for logits in outputs]
        return [_channels_last(output).contiguous() for output in outputs]

    def _check(self, key: "TableKey", table: Tensor, folder: Path) -> None:
        """Compute some rows of a table again. Raises ConfigError if the table holds other values."""
        split = key.split
        places = torch.linspace(0, len(split) - 1, min(_CHECKED_ROWS, len(split))).long()
        computed = torch.stack(self._computed(key, split.rows[places.to(split.rows.device)])).cpu()
        stored = table[:, places]
        if key.layer == LOGITS:
            stored, computed = (key.code.decode(values, self.teacher.classes) for values in (stored, computed))
        expected = computed.double().flatten(2)  # (versions, rows, values)
        difference = stored.double().flatten(2) - expected
        spread = (expected - expected.mean(dim=1, keepdim=True)).norm(dim=2).mean()
        rounding = _ROUNDING_TOLERANCE[self.teacher.precision] * expected.abs().max()
        is_rounding = difference.abs().amax(dim=2) <= rounding
        is_right = is_rounding | (difference.norm(dim=2) <= _HARDWARE_TOLERANCE * spread)  # False for NaN
        if not bool(is_right.all()):
            wrong = int(places[int(is_right.all(dim=0).int().argmin())])
            raise ConfigError(
                f"{folder} does not hold the teacher's {key.outputs}: for the image in row {int(split.rows[wrong])} "
                "the teacher gives other values. The table was made from other rows, another view or another teacher. "
                f"Remove {folder}, and it is made again"
            )


@dataclass(frozen=True, slots=True)
class TableKey:
    """Determines one table of a teacher.

    layer: the teacher's layer, or LOGITS.
    split: the images.
    views: their augmentation.
    view: number of the view that the table is for; 0 if one table serves all views.
    images: as for `TeacherCache.logits`.
    code: how logits are stored."""

    layer: str
    split: Split
    views: Views
    view: int
    images: str = ""
    code: LogitCode = EXACT

    @property
    def rows(self) -> int:
        """Number of the table's rows: one for each version of each image."""
        return self.views.images_per_view * len(self.split)

    @property
    def outputs(self) -> str:
        """The table's content in words, for messages."""
        return "logits" if self.layer == LOGITS else f"{self.layer} outputs"


def _table_keys(plan: CachePlan, data: Data) -> list[TableKey]:
    train = [
        TableKey(name, data.train, plan.views, view, code=plan.code)
        for name in plan.cached
        for view in range(plan.tables)
    ]
    return train + [TableKey(name, data.valid, _UNAUGMENTED, 0) for name in plan.cached]


def _in_words(key: TableKey) -> str:
    if key.views.differ:
        return f" in view {key.view}"
    return ", as they are and mirrored" if key.views.images_per_view > 1 else ""


def _await(folder: Path) -> None:
    """Wait until a folder that another host has made can be seen here. Raises ConfigError after a minute."""
    deadline = time.monotonic() + _SEEN_S
    while not folder.exists():
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{folder} was made by another process and cannot be seen here: give all hosts one store="
            )
        time.sleep(0.1)


def _read(folder: Path, root: Path | None) -> Tensor:
    """Map a table: (versions, N, ...), channels last. Raises DamagedError if it cannot be read."""
    meta, path = files.read_json(folder / "meta.json"), folder / "answers.npy"
    try:
        if digests.of_file(path, root) != meta["sha256"]:
            raise ValueError("its content is not what was written")
        array = np.load(path, mmap_mode="c")  # copy on write: PyTorch needs writable memory, the file stays unchanged
    except (*permissions.DAMAGE, KeyError) as error:
        raise DamagedError(f"{path} cannot be read ({error})") from error
    return torch.from_numpy(array).view(getattr(torch, meta["dtype"]))


def _as_numpy(values: Tensor) -> Any:
    """Convert to NumPy, which lacks bf16: these values are stored as 16-bit integers with the same bits."""
    values = values.cpu()
    return (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()


def _channels_last(outputs: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), the memory layout of `network.place` except for fp32 on a GPU; others unchanged."""
    return outputs.permute(0, 2, 3, 1) if outputs.ndim == 4 else outputs


def _channels_first(table: Tensor) -> Tensor:
    return table.permute(0, 3, 1, 2) if table.ndim == 4 else table
