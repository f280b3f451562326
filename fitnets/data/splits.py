"""Images and labels: decoded and preprocessed once into memory-mapped files, split by a fixed rule, batched by row."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fitnets.config import Augmentation, Dataset, Folder, HubImages, image_shape
from fitnets.config.options import content_hash
from fitnets.config.seeds import seed_of
from fitnets.data import preprocessing, sources
from fitnets.data.augmentation import Views, view
from fitnets.data.draws import equal_draw, proportional_draw
from fitnets.data.reading.decoding import BrokenImages, Report, together
from fitnets.data.sources import Source, SplitPart, has_validation_part, present_parts, source, training_parts
from fitnets.errors import ConfigError, DamagedError
from fitnets.progress import Progress
from fitnets.store import directories, files, layout, locks
from fitnets.store.layout import StoreLayout
from fitnets.system import permissions

_CHUNK = 2000  # images preprocessed at a time
_PREPARING = 1  # one more with every change of what the code makes of the same images


@dataclass(frozen=True, slots=True)
class Batch:
    """images: (N, C, H, W) float32; labels: (N,); rows: (N,) their numbers in the set. view: the number of the view
    that the images are in; None: they are as they are."""

    images: Tensor
    labels: Tensor
    rows: Tensor
    view: int | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a set that stays where it is. images: (all rows, C, H, W) float32; labels: (all rows,); rows: (N,)."""

    images: Tensor
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def class_counts(self, classes: int) -> list[int]:
        """Images of each class."""
        return torch.bincount(self.labels[self.rows].cpu(), minlength=classes).tolist()

    def batch(self, rows: Tensor) -> Batch:
        return Batch(self.images[rows], self.labels[rows], rows)

    def viewed(self, rows: Tensor, number: int, views: Views) -> Batch:
        """A batch of augmented images: the view `number` of each."""
        images = view(self.images[rows], rows, number, views.augmentation, views.seed)
        return Batch(images, self.labels[rows], rows, number)

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Row numbers of an epoch's batches: a function of the seed; the last incomplete batch is dropped."""
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(seed))
        shuffled = self.rows[order.to(self.rows.device)]
        return iter(torch.split(shuffled[: len(shuffled) // batch_size * batch_size], batch_size))

    def ordered(self, batch_size: int) -> Iterator[Batch]:
        """All rows once, in order."""
        return map(self.batch, torch.split(self.rows, batch_size))


@dataclass(frozen=True, slots=True)
class Data:
    """What training and selection may see. digest: of the decoded images and labels; view_seed: of augmentation;
    fitted: what their preprocessing learnt."""

    train: Split
    valid: Split
    digest: str
    view_seed: int
    fitted: preprocessing.FittedPreprocessing = field(default_factory=dict)

    def views(self, augmentation: Augmentation, count: int | None = None) -> Views:
        """How a stage sees the training images. count: of different crops; None: no bound."""
        return Views(augmentation, self.view_seed, count)

    def whole(self) -> "Data":
        """Training and validation images together to train on, for retraining."""
        rows = torch.cat([self.train.rows, self.valid.rows]).sort().values
        return replace(self, train=replace(self.train, rows=rows))


def load(dataset: Dataset, root: Path, device: torch.device, progress: Progress) -> Data:
    """Training and validation images. The test split is not touched."""
    parts = _parts(dataset)
    decoded = [_decoded(dataset, part, root, progress) for part in parts]
    folder = _prepared(dataset, root, decoded, progress)
    train, valid = split({name: part.labels for name, part in zip(parts, decoded, strict=True)}, dataset)
    images, labels = _tensors(folder, device)
    return Data(
        train=Split(images, labels, train.to(device)),
        valid=Split(images, labels, valid.to(device)),
        digest=_digest(decoded),
        view_seed=seed_of("views", dataset.seed),
        fitted=_fitted(folder),
    )


def load_test(dataset: Dataset, root: Path, device: torch.device, progress: Progress) -> Split:
    """The test split, decoded the first time that it is asked for; preprocessed as fitted on training images."""
    return load_split(dataset, "test", root, device, progress, fitted_on=dataset)


def test_identity(dataset: Dataset, root: Path) -> str:
    """A hash of where the test split's images come from: its files by digest, or a revision. Nothing is decoded."""
    return content_hash("test", source(dataset, "test", root).identity)


def digest(dataset: Dataset, root: Path, progress: Progress) -> str:
    """Of the images and labels for training and validation."""
    return _digest([_decoded(dataset, part, root, progress) for part in _parts(dataset)])


def known_digest(dataset: Dataset, root: Path) -> str | None:
    """The same of images that were decoded earlier; None where they would have to be decoded, or downloaded, first.

    Raises ConfigError where local files are named and are not there."""
    if isinstance(dataset, Folder):  # its parts are known once all images are decoded
        return None
    if isinstance(dataset, HubImages) and dataset.hub is None and dataset.path is None:
        return None
    folders = [_decoded_folder(dataset, source(dataset, part, root), root) for part in _parts(dataset)]
    if not all((folder / layout.META).is_file() for folder in folders):
        return None
    digests = [files.read_json(folder / layout.META)["sha256"] for folder in folders]
    return digests[0] if len(digests) == 1 else content_hash(digests)


SplitName = Literal["train", "valid", "test"]


def load_split(
    dataset: Dataset,
    name: SplitName,
    root: Path,
    device: torch.device,
    progress: Progress,
    *,
    fitted_on: Dataset,
    fitted: preprocessing.FittedPreprocessing | None = None,
) -> Split:
    """A split of a data set, preprocessed as another one is. Training and validation images of the latter itself are
    those of `load`: no second copy is made.

    fitted_on: the other data set. fitted: what its preprocessing learnt; None: it is learnt from its training images
    again."""
    alike = replace(dataset, preprocessing=fitted_on.preprocessing)
    if alike == fitted_on and name != "test":
        own = load(alike, root, device, progress)
        if fitted is None or all(torch.equal(values, own.fitted[key]) for key, values in fitted.items()):
            return own.train if name == "train" else own.valid
    if fitted is None:
        fitted = fitted_values(fitted_on, root, progress)
    parts: list[SplitPart] = ["test"] if name == "test" else _parts(dataset)
    decoded = [_decoded(alike, part, root, progress) for part in parts]
    images, labels = _tensors(_prepared(alike, root, decoded, progress, fitted=fitted), device)
    if name == "test":
        rows = torch.arange(len(labels))
    else:
        of_parts = {name: part.labels for name, part in zip(parts, decoded, strict=True)}
        rows = split(of_parts, dataset)[name == "valid"]
    return Split(images, labels, rows.to(device))


def load_all(
    dataset: Dataset, root: Path, device: torch.device, progress: Progress, fitted: preprocessing.FittedPreprocessing
) -> Split:
    """All images of a data set, whatever their split. fitted: values that its preprocessing applies."""
    decoded = [_decoded(dataset, part, root, progress) for part in present_parts(dataset)]
    images, labels = _tensors(_prepared(dataset, root, decoded, progress, fitted=fitted), device)
    return Split(images, labels, torch.arange(len(labels), device=device))


def fitted_values(dataset: Dataset, root: Path, progress: Progress) -> preprocessing.FittedPreprocessing:
    """What its preprocessing has learnt from its training images."""
    if not preprocessing.is_fitted(dataset.preprocessing):
        return {}
    training = [_decoded(dataset, part, root, progress) for part in _parts(dataset)]
    return _fitted(_prepared(dataset, root, training, progress))


def raw_images(dataset: Dataset, name: SplitName, rows: Tensor, root: Path, progress: Progress) -> Tensor:
    """(N, C, H, W) uint8, as they were published. rows: of the split that `load_split` gives."""
    parts: list[SplitPart] = ["test"] if name == "test" else _parts(dataset)
    decoded = [_decoded(dataset, part, root, progress).images for part in parts]
    starts = np.cumsum([0, *map(len, decoded)])
    places = [(row, int(np.searchsorted(starts, row, side="right")) - 1) for row in rows.tolist()]
    return torch.from_numpy(np.stack([decoded[part][row - starts[part]] for row, part in places]))


def check_files(dataset: Dataset, root: Path, progress: Progress, *, test: bool) -> None:
    """Decode all parts, so that every missing file, broken image and wrong label is named before anything is trained.
    test: whether the test split is needed.

    Raises ConfigError; BrokenImages with those of all parts."""
    if isinstance(dataset, Folder):
        source(dataset, "train", root, progress)  # what is wrong with a folder is wrong with all its parts
    for step in (source, _decoded):
        errors: list[ConfigError] = []
        for part in _parts(dataset, test=test):
            try:
                step(dataset, part, root, progress)
            except ConfigError as error:
                errors.append(error)
                if isinstance(dataset, HubImages) and dataset.path is None:  # the next download would fail likewise
                    break
        if errors:
            raise _joined(errors)


def _joined(errors: list[ConfigError]) -> ConfigError:
    """One error for several: broken images in one line, each other problem in a line of its own, once."""
    broken = [error for error in errors if isinstance(error, BrokenImages)]
    others = {str(error): error for error in errors if error not in broken}
    joined = [*([together(broken)] if broken else []), *others.values()]
    return joined[0] if len(joined) == 1 else ConfigError("\n".join(map(str, joined)))


def notes(dataset: Dataset, root: Path, progress: Progress, *, test: bool) -> list[str]:
    """Sentences for the plan and for `fitnets doctor`: which files and images are used, what is left out, and what was
    done to images. test: whether the test split is used."""
    found = [*sources.notes(dataset, root)]
    if isinstance(dataset, HubImages):
        for part in _parts(dataset, test=test):
            found += _decoded(dataset, part, root, progress).report.notes(part)
    return found


def _parts(dataset: Dataset, *, test: bool = False) -> list[SplitPart]:
    parts = training_parts(dataset)
    if has_validation_part(dataset):
        parts.append("validation")
    return [*parts, "test"] if test else parts


# --- split ---


def split(labels: dict[SplitPart, NDArray[np.int64]], dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Row numbers (train, validation), both ascending. labels: of each part, in the order of the rows."""
    held_out = np.concatenate([_held_out(dataset, part, of_part) for part, of_part in labels.items()])
    train = np.flatnonzero(~held_out)
    if dataset.train_share < 1:
        of_train = np.concatenate(list(labels.values()))[train]
        count = max(1, round(dataset.train_share * len(train)))
        train = train[proportional_draw(of_train, count, seed_of("training share", dataset.seed))]
    return torch.from_numpy(train), torch.from_numpy(np.flatnonzero(held_out))


def _held_out(dataset: Dataset, part: SplitPart, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows of a part are for validation."""
    if has_validation_part(dataset):
        return np.full(len(labels), part == "validation")
    key = "extra_validation" if part == "extra" else "validation"
    count: int = getattr(dataset, key)
    if count >= len(labels):
        raise ConfigError(
            f"dataset.{key}={count} leaves no image to train on: {dataset.name} has {len(labels)} in its {part} "
            f"split: give fewer than {len(labels)}"
        )
    rule = dataset.validation_rule if isinstance(dataset, HubImages) else "by_class"
    seed = seed_of("validation" if part == "train" else f"validation of {part}", dataset.seed)
    match rule:
        case "last":
            return np.arange(len(labels)) >= len(labels) - count
        case "by_class":
            return proportional_draw(labels, count, seed)
        case "equal":
            each, rest = divmod(count, dataset.classes)
            try:
                if rest:
                    raise ValueError(f"{count} is no multiple of {dataset.classes} classes")
                return equal_draw(labels, each, seed)
            except ValueError as error:
                raise ConfigError(
                    f"dataset.{key}={count} with validation_rule=equal ({each} a class of the {part} split): {error}"
                ) from error


# --- decoded and preprocessed files ---


@dataclass(frozen=True, slots=True)
class _Decoded:
    """images: (N, C, H, W) uint8, mapped; labels: (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    digest: str
    report: Report


def _digest(decoded: list[_Decoded]) -> str:
    return decoded[0].digest if len(decoded) == 1 else content_hash([part.digest for part in decoded])


def _decoded(dataset: Dataset, part: SplitPart, root: Path, progress: Progress) -> _Decoded:
    """One part as it was published, mapped from its files; decoded into them when they are not there yet."""
    origin = source(dataset, part, root, progress)
    folder = _decoded_folder(dataset, origin, root)
    if not folder.exists():
        with locks.locked(folder, f"the decoded images of {dataset.name}", progress.say):
            if not folder.exists():
                _decode(dataset, part, origin, folder, progress)
    with files.made_again(folder):
        meta = files.read_json(folder / layout.META)
    report = Report(**meta["report"]) if "report" in meta else Report(total=meta["images"])
    sources.check(dataset, report)
    return _Decoded(_mapped(folder / layout.IMAGES), _mapped(folder / layout.LABELS), meta["sha256"], report)


def _decoded_folder(dataset: Dataset, origin: Source, root: Path) -> Path:
    """Where a part lies or will lie: of this version of the code, or of an earlier one that serves as well."""
    versions = [origin.version, *([origin.earlier] if origin.earlier is not None else [])]
    folders = [
        StoreLayout(root).data(content_hash("decoded", version, origin.identity, image_shape(dataset), dataset.classes))
        for version in versions
    ]
    return next((folder for folder in folders if folder.exists()), folders[0])


def _decode(dataset: Dataset, part: SplitPart, origin: Source, folder: Path, progress: Progress) -> None:
    found = origin.read(progress.track)
    sources.check(dataset, found.report)
    images, labels = found.raw
    if len(images) == 0:
        raise ConfigError(f"dataset={dataset.name}: no image of the {part} split can be used")
    sources.check_labels(dataset, part, labels)
    assert images.shape == (len(labels), *image_shape(dataset))
    with directories.fill(folder) as partial:
        np.save(partial / layout.IMAGES, images)
        np.save(partial / layout.LABELS, labels)
        told = {"source": origin.identity, "images": len(images), "sha256": _sha256(images, labels)}
        told["report"] = asdict(found.report)
        files.write_json(partial / layout.META, told)


def _prepared(
    dataset: Dataset,
    root: Path,
    decoded: list[_Decoded],
    progress: Progress,
    *,
    fitted: preprocessing.FittedPreprocessing | None = None,
) -> Path:
    """The folder with the preprocessed images of some parts, one after the other, their labels, and what was fitted on
    them. fitted: from the training images; None: these are the training images (and validation images of their own)."""
    told = [part.digest for part in decoded]
    trained_on = (
        len(training_parts(dataset))
        if fitted is None
        else {name: _sha256(tensor.numpy()) for name, tensor in fitted.items()}
    )
    folder = StoreLayout(root).data(
        content_hash("prepared", _PREPARING, told, trained_on, dataset.preprocessing, dataset.pixel_max)
    )
    if not folder.exists():
        with locks.locked(folder, f"the preprocessed images of {dataset.name}", progress.say):
            if not folder.exists():
                _prepare(dataset, decoded, folder, progress, fitted)
    return folder


def _prepare(
    dataset: Dataset,
    decoded: list[_Decoded],
    folder: Path,
    progress: Progress,
    fitted: preprocessing.FittedPreprocessing | None,
) -> None:
    count = sum(len(part.labels) for part in decoded)
    if fitted is None:
        fitted_on = decoded[: len(training_parts(dataset))]
        fitted = preprocessing.fit(dataset.preprocessing, lambda: _chunks(fitted_on, dataset.pixel_max))
    size = 4 * count * decoded[0].images[0].size
    what = f"dataset={dataset.name}: its preprocessed images"
    files.check_space(folder.parent, size, what, "give another store=...")  # a mapped file that outgrows it is fatal
    with directories.fill(folder) as partial:
        path = partial / layout.IMAGES
        images = np.lib.format.open_memmap(path, "w+", np.float32, (count, *decoded[0].images.shape[1:]))
        files.allocate(path)
        chunks = _chunks(decoded, dataset.pixel_max)
        filled = 0
        for _ in progress.track(range(sum(-(-len(part.labels) // _CHUNK) for part in decoded)), "preprocessing"):
            chunk = preprocessing.apply(dataset.preprocessing, fitted, next(chunks))
            images[filled : filled + len(chunk)] = chunk.numpy()
            filled += len(chunk)
        images.flush()
        np.save(partial / layout.LABELS, np.concatenate([part.labels for part in decoded]))
        files.write(partial / layout.FITTED, save(fitted))


def _chunks(decoded: Iterable[_Decoded], pixel_max: float) -> Iterator[Tensor]:
    """The images in [0, 1], some at a time."""
    for part in decoded:
        for start in range(0, len(part.images), _CHUNK):
            yield torch.from_numpy(part.images[start : start + _CHUNK].astype(np.float32)) / pixel_max


def _sha256(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _tensors(folder: Path, device: torch.device) -> tuple[Tensor, Tensor]:
    """(images, labels) of a preprocessed set."""
    images, labels = (torch.from_numpy(_mapped(folder / f"{name}.npy")).to(device) for name in ("images", "labels"))
    return images, labels


def _mapped(path: Path) -> NDArray[Any]:
    """Raises DamagedError, with the way out."""
    with files.made_again(path.parent):
        try:  # copy on write: PyTorch wants it writable, the file stays as is
            array: NDArray[Any] = np.load(path, mmap_mode="c")
        except (*permissions.DAMAGE, EOFError) as error:
            raise DamagedError(f"{path} cannot be read ({error})") from error
    return array


def _fitted(folder: Path) -> preprocessing.FittedPreprocessing:
    """What the preprocessing of a set has learnt. Raises DamagedError, with the way out."""
    path = folder / layout.FITTED
    with files.made_again(folder):
        try:
            return load_file(path)
        except (*permissions.DAMAGE, SafetensorError) as error:
            raise DamagedError(f"{path} cannot be read ({error})") from error
