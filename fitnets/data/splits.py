"""The splits of a data set: preprocessed images and labels, addressed by row and handed out in batches."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fitnets.config import Augmentation, Dataset, Folder, HubImages, OwnImages
from fitnets.config.options import content_hash
from fitnets.config.seeds import seed_of
from fitnets.data import preprocessing, sources, stored_images
from fitnets.data.augmentation import Views
from fitnets.data.eight_bit import EightBitImages, Images
from fitnets.data.held_out import train_and_validation_rows
from fitnets.data.mixing import Mixture
from fitnets.data.prefetching import prefetched
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.data.reading.decoding import BrokenImages, merge
from fitnets.data.sources import SplitPart, present_parts, source, used_parts
from fitnets.data.stored_images import (
    DecodedPart,
    Keep,
    decoded_folder,
    decoded_part,
    joint_digest,
    prepared_images,
)
from fitnets.errors import ConfigError
from fitnets.progress import Progress
from fitnets.store import files

SplitName = Literal["train", "valid", "test"]
_AHEAD = 3
"""batches of streamed images that wait for their turn"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Images with their labels."""

    images: Tensor
    """(N, C, H, W) float32"""
    labels: Tensor
    """(N,)"""
    rows: Tensor
    """(N,): row of each image in its data set"""
    view: int | None = None
    """number of the view that augmented the images; None: they are not augmented"""
    mixture: Mixture | None = None
    """what else is in the images; None: they are not mixed"""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Split:
    """Some rows of a data set. Several splits share the images and labels of all rows."""

    images: Images
    """(all rows, C, H, W)"""
    labels: Tensor
    """(all rows,)"""
    rows: Tensor
    """(N,): rows that belong to the split"""

    def __len__(self) -> int:
        return len(self.rows)

    def class_counts(self, classes: int) -> list[int]:
        """Number of images of each class."""
        return torch.bincount(self.labels[self.rows].cpu(), minlength=classes).tolist()

    def batch(self, rows: Tensor) -> Batch:
        return Batch(self.images[rows], self.labels[rows], rows)

    def augmented(self, rows: Tensor, number: int, views: Views, images: Images | None = None) -> Batch:
        """A batch of augmented images, each as in the view `number`.

        images: holds all images that the view needs; None: those of the split."""
        images, partners, share = views.shown(images or self.images, rows, number, self.rows)
        mixture = None if partners is None else Mixture(self.labels[partners], share)
        return Batch(images, self.labels[rows], rows, number, mixture)

    def in_view(self, all_rows: Iterable[Tensor], number: int, views: Views) -> Generator[Batch, None, None]:
        """Batches of augmented images, each as in the view `number`. Streamed images are read ahead by a thread.

        all_rows: the rows of each batch."""
        images = self.images
        if not (isinstance(images, EightBitImages) and images.pixels.is_streamed):
            for rows in all_rows:
                yield self.augmented(rows, number, views)
            return

        def fetch(rows: Tensor) -> EightBitImages:
            return images.fetched(views.needed(rows, number, self.rows))

        with closing(prefetched(all_rows, fetch, _AHEAD)) as batches:
            for rows, fetched in batches:
                yield self.augmented(rows, number, views, fetched)

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Tensor]:
        """The rows of each batch of an epoch, in an order that depends on the seed alone. The last incomplete batch is
        dropped."""
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(seed))
        shuffled = self.rows[order.to(self.rows.device)]
        return iter(torch.split(shuffled[: len(shuffled) // batch_size * batch_size], batch_size))

    def ordered(self, batch_size: int) -> Iterator[Batch]:
        """All rows once, in order."""
        return map(self.batch, torch.split(self.rows, batch_size))


@dataclass(frozen=True, slots=True)
class Data:
    """The images that training and selection may see."""

    train: Split
    valid: Split
    digest: str
    """hash of the decoded images and labels"""
    view_seed: int
    """seed of the augmentation"""
    fitted: FittedPreprocessing = field(default_factory=dict)

    def views(self, augmentation: Augmentation, count: int | None = None) -> Views:
        """The views of the training images for one stage.

        count: number of different crops of an image before they repeat; None: they never repeat."""
        return Views(augmentation, self.view_seed, count)

    def with_validation(self) -> "Data":
        """The same data with the validation images among the training images, for retraining."""
        rows = torch.cat([self.train.rows, self.valid.rows]).sort().values
        return replace(self, train=replace(self.train, rows=rows))


# --- load ---


def load(dataset: Dataset, root: Path, device: torch.device, progress: Progress, *, keep: Keep = "auto") -> Data:
    """Load training and validation images. The test split is not opened.

    keep: where the images are kept, see `config.Engine.data`."""
    names = used_parts(dataset)
    parts = [decoded_part(dataset, name, root, progress) for name in names]
    prepared = prepared_images(dataset, root, parts, progress, device, keep=keep)
    train, valid = (Split(prepared.images, prepared.labels, rows.to(device)) for rows in _rows(names, parts, dataset))
    return Data(
        train=train,
        valid=valid,
        digest=joint_digest([part.digest for part in parts]),
        view_seed=seed_of("views", dataset.seed),
        fitted=prepared.fitted,
    )


def load_test(dataset: Dataset, root: Path, device: torch.device, progress: Progress) -> Split:
    """Load the test split. Its preprocessing is fitted on the training images."""
    return load_split(dataset, "test", root, device, progress, fitted_on=dataset)


def load_split(
    dataset: Dataset,
    name: SplitName,
    root: Path,
    device: torch.device,
    progress: Progress,
    *,
    fitted_on: Dataset,
    fitted: FittedPreprocessing | None = None,
) -> Split:
    """Load a split of a data set, preprocessed as another data set is. If both are the same data set, its training and
    validation images are those of `load`, and no second copy is stored.

    fitted_on: the data set that sets the preprocessing.
    fitted: the fitted values; None: the preprocessing is fitted on the training images of `fitted_on`."""
    alike = replace(dataset, preprocessing=fitted_on.preprocessing)
    if alike == fitted_on and name != "test":
        data = load(alike, root, device, progress)
        if fitted is None or all(torch.equal(values, data.fitted[key]) for key, values in fitted.items()):
            return data.train if name == "train" else data.valid
    if fitted is None:
        fitted = fitted_values(fitted_on, root, progress)
    names = _parts_of(dataset, name)
    parts = [decoded_part(alike, part, root, progress) for part in names]
    prepared = prepared_images(alike, root, parts, progress, device, keep="auto", fitted=fitted)
    rows = torch.arange(len(prepared.labels)) if name == "test" else _rows(names, parts, dataset)[name == "valid"]
    return Split(prepared.images, prepared.labels, rows.to(device))


def load_all(
    dataset: Dataset, root: Path, device: torch.device, progress: Progress, fitted: FittedPreprocessing
) -> Split:
    """Load all images of a data set, whatever their split. fitted: values that the preprocessing applies."""
    parts = [decoded_part(dataset, name, root, progress) for name in present_parts(dataset)]
    prepared = prepared_images(dataset, root, parts, progress, device, keep="auto", fitted=fitted)
    return Split(prepared.images, prepared.labels, torch.arange(len(prepared.labels), device=device))


def fitted_values(dataset: Dataset, root: Path, progress: Progress) -> FittedPreprocessing:
    """The values that the preprocessing fits on the training images; empty if it fits none."""
    if not preprocessing.is_fitted(dataset.preprocessing):
        return {}
    parts = [decoded_part(dataset, name, root, progress) for name in used_parts(dataset)]
    return stored_images.fitted_values(dataset, root, parts, progress)


def raw_images(dataset: Dataset, name: SplitName, rows: Tensor, root: Path, progress: Progress) -> Tensor:
    """(N, C, H, W) uint8: images before preprocessing. rows: rows of the split that `load_split` returns."""
    parts = [decoded_part(dataset, part, root, progress) for part in _parts_of(dataset, name)]
    images = stored_images.pixels(dataset, parts, torch.device("cpu"))
    return images[rows.cpu()]


def _parts_of(dataset: Dataset, name: SplitName) -> list[SplitPart]:
    """The parts whose rows a split is taken from."""
    return ["test"] if name == "test" else used_parts(dataset)


def _rows(names: list[SplitPart], parts: list[DecodedPart], dataset: Dataset) -> tuple[Tensor, Tensor]:
    """The rows to train on, and the rows for validation."""
    return train_and_validation_rows(
        {name: part.labels for name, part in zip(names, parts, strict=True)},
        dataset,
    )


# --- digests ---


def digest(dataset: Dataset, root: Path, progress: Progress) -> str:
    """A hash of the decoded images and labels for training and validation."""
    return joint_digest([decoded_part(dataset, part, root, progress).digest for part in used_parts(dataset)])


def known_digest(dataset: Dataset, root: Path) -> str | None:
    """The `digest` of images that are in the store already; None if they would have to be downloaded or decoded first.

    Raises ConfigError where local files are configured and missing."""
    if isinstance(dataset, Folder | OwnImages):  # its parts are known only after all images are decoded
        return None
    if isinstance(dataset, HubImages) and dataset.hub is None and dataset.path is None:
        return None
    folders = [decoded_folder(dataset, source(dataset, part, root), root) for part in used_parts(dataset)]
    if not all((folder / "meta.json").is_file() for folder in folders):
        return None
    return joint_digest([files.read_json(folder / "meta.json")["sha256"] for folder in folders])


def test_identity(dataset: Dataset, root: Path) -> str:
    """A hash of the origin of the test images: the digests of their files, or a revision. Nothing is decoded."""
    return content_hash("test", source(dataset, "test", root).identity)


# --- checks and notes ---


def check_files(dataset: Dataset, root: Path, progress: Progress, *, test: bool) -> None:
    """Decode all parts before anything is trained, and report every missing file, broken image and wrong label.

    test: whether the test split is needed.

    Raises ConfigError for all parts together; BrokenImages if broken images are the only problem."""
    if isinstance(dataset, Folder):
        source(dataset, "train", root, progress)  # all parts of a folder have the same problems: report them once
    for step in (source, decoded_part):
        errors: list[ConfigError] = []
        for part in used_parts(dataset, test=test):
            try:
                step(dataset, part, root, progress)
            except ConfigError as error:
                errors.append(error)
                if isinstance(dataset, HubImages) and dataset.path is None:  # the next download would fail likewise
                    break
        if errors:
            raise _one_error(errors)


def _one_error(errors: list[ConfigError]) -> ConfigError:
    """One error for several: all broken images in one line, every other problem once, in a line of its own."""
    broken = [error for error in errors if isinstance(error, BrokenImages)]
    others = {str(error): error for error in errors if error not in broken}
    problems = [*([merge(broken)] if broken else []), *others.values()]
    return problems[0] if len(problems) == 1 else ConfigError("\n".join(map(str, problems)))


def notes(dataset: Dataset, root: Path, progress: Progress, *, test: bool) -> list[str]:
    """Sentences for the plan and for `fitnets doctor`: which files and images are used, which are left out, and how
    images were changed.

    test: whether the test split is used."""
    sentences = [*sources.notes(dataset, root)]
    if isinstance(dataset, HubImages):
        for part in used_parts(dataset, test=test):
            sentences += decoded_part(dataset, part, root, progress).report.notes(part)
    return sentences
