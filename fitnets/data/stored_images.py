"""Images in the store: each part of a data set is decoded once, in 8 bits, then memory-mapped."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fitnets.config import Dataset, image_shape
from fitnets.config.options import content_hash
from fitnets.data import preprocessing, sources
from fitnets.data.eight_bit import EightBitImages, Images, Pixels, StoredRows
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.data.reading.decoding import Report
from fitnets.data.reading.examined import stored_rows
from fitnets.data.reading.folder import centre_view
from fitnets.data.sources import Source, SplitPart, source, training_parts
from fitnets.errors import ConfigError, DamagedError
from fitnets.progress import Progress
from fitnets.store import arrays, directories, files, locks
from fitnets.system import permissions, resources

_CHUNK = 2000
"""largest number of images that are preprocessed at a time"""
_CHUNK_BYTES = 32_000_000
"""about the largest size in 8 bits of images that are preprocessed at a time; as floats they take 4 to 8 times that"""
_LARGEST_SHARE = 0.5
"""share of the memory that is left; larger data sets are streamed"""
_PREPROCESSING_VERSION = 1
"""a part of the hash: raise it whenever the code makes other preprocessed images from the same decoded ones"""

Keep = Literal["auto", "device", "stream"]
"""where the images of a data set are kept, see `config.Engine.data`"""


@dataclass(frozen=True, slots=True)
class DecodedPart:
    """A decoded part of a data set, mapped from its files in the store."""

    images: StoredRows
    """(N, C, H, W), as published"""
    labels: NDArray[np.int64]
    """(N,)"""
    digest: str
    """SHA-256 of the images and labels"""
    report: Report


# --- decoded images ---


def decoded_part(dataset: Dataset, part: SplitPart, root: Path, progress: Progress) -> DecodedPart:
    """Map a part from the store. A part that is not there yet is decoded first.

    Raises ConfigError where the images or labels cannot be used."""
    origin = source(dataset, part, root, progress)
    folder = decoded_folder(dataset, origin, root)
    if not folder.exists():
        with locks.locked(folder, f"the decoded images of {dataset.name}", progress.say):
            if not folder.exists():
                _decode(dataset, part, origin, folder, progress)
    with files.advise_removal(folder):
        meta = files.read_json(folder / "meta.json")
    report = Report(**meta["report"]) if "report" in meta else Report(total=meta["images"])
    sources.check_report(dataset, report)
    return DecodedPart(
        _stored_rows(dataset, folder, origin), arrays.mapped_array(folder / "labels.npy"), meta["sha256"], report
    )


def _stored_rows(dataset: Dataset, folder: Path, origin: Source) -> StoredRows:
    """The images of a decoded part: its own file, or rows of the file that holds all images of a `dataset=folder`."""
    if (folder / "images.npy").exists():
        return StoredRows(arrays.mapped_array(folder / "images.npy", "r"))
    assert origin.images_folder is not None
    return stored_rows(origin.images_folder, dataset.channels, arrays.mapped_array(folder / "rows.npy"))


def decoded_folder(dataset: Dataset, origin: Source, root: Path) -> Path:
    """The folder of a decoded part: an existing one, written by this version of the code or by an accepted earlier one;
    otherwise the one that this version will write."""
    versions = [origin.version, *([origin.earlier_version] if origin.earlier_version is not None else [])]
    folders = [
        root / "data" / content_hash("decoded", version, origin.identity, image_shape(dataset), dataset.classes)
        for version in versions
    ]
    return next((folder for folder in folders if folder.exists()), folders[0])


def joint_digest(digests: list[str]) -> str:
    """One digest for the images and labels of several parts."""
    return digests[0] if len(digests) == 1 else content_hash(digests)


def _decode(dataset: Dataset, part: SplitPart, origin: Source, folder: Path, progress: Progress) -> None:
    with directories.fill(folder, resumable=True) as partial:
        decoded = origin.read(progress.track, partial)
        images, labels = decoded.images, decoded.labels
        sources.check_report(dataset, decoded.report)
        if len(images) == 0:
            raise ConfigError(f"dataset={dataset.name}: no image of the {part} split can be used")
        sources.check_labels(dataset, part, labels)
        assert len(images) == len(labels)
        if origin.images_folder is not None:
            assert images.rows is not None
            np.save(partial / "rows.npy", images.rows)
        elif not isinstance(images.array, np.memmap):  # else decoding has mapped it from this folder
            np.save(partial / "images.npy", images.array)
        np.save(partial / "labels.npy", labels)
        meta = {
            "source": origin.identity,
            "images": len(images),
            "sha256": _digest(images, labels),
            "report": asdict(decoded.report),
        }
        files.write_json(partial / "meta.json", meta)


def _digest(images: StoredRows, labels: NDArray[np.int64]) -> str:
    """SHA-256 of all images and labels."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(np.ascontiguousarray(image).data)
    if images.sizes is not None:
        digest.update(np.ascontiguousarray(images.sizes[images.places()]).data)
    digest.update(labels.data)
    return digest.hexdigest()


# --- preprocessed images ---


@dataclass(frozen=True, slots=True)
class PreparedImages:
    """The images and labels of some parts, in the order of the parts, as networks get them."""

    images: Images
    labels: Tensor
    """(N,)"""
    fitted: FittedPreprocessing


def prepared_images(
    dataset: Dataset,
    root: Path,
    parts: list[DecodedPart],
    progress: Progress,
    device: torch.device,
    *,
    keep: Keep = "device",
    fitted: FittedPreprocessing | None = None,
) -> PreparedImages:
    """The preprocessed images of some parts. Elementwise preprocessing is applied to each batch; the result of any
    other is stored as floats, once.

    parts: if `fitted` is None, the training parts, followed by the validation part if there is one.
    keep: where the images are kept if they stay in 8 bits.
    fitted: the fitted values; None: the preprocessing is fitted on the training parts."""
    if preprocessing.is_elementwise(dataset.preprocessing):
        if fitted is None:
            fitted = fitted_values(dataset, root, parts, progress)
        table = preprocessing.table(dataset.preprocessing, fitted, dataset.pixel_max, dataset.channels)
        labels = torch.from_numpy(np.concatenate([part.labels for part in parts])).to(device)
        return PreparedImages(EightBitImages(pixels(dataset, parts, device, keep), table), labels, fitted)
    folder = _preprocessed_folder(dataset, root, parts, progress, fitted)
    images, labels = (
        torch.from_numpy(arrays.mapped_array(folder / f"{name}.npy")).to(device) for name in ("images", "labels")
    )
    return PreparedImages(images, labels, _stored_values(folder))


def pixels(dataset: Dataset, parts: list[DecodedPart], device: torch.device, keep: Keep = "device") -> Pixels:
    """The 8-bit images of some parts."""
    is_streamed = keep == "stream"
    if keep == "auto":
        size = sum(part.images.bytes for part in parts)
        is_streamed = size > _LARGEST_SHARE * _memory_left(device)
    return Pixels([part.images for part in parts], centre_view(dataset), device, is_streamed=is_streamed)


def _memory_left(device: torch.device) -> int:
    """Bytes of memory of a device that are left."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return resources.memory_left()


def fitted_values(dataset: Dataset, root: Path, parts: list[DecodedPart], progress: Progress) -> FittedPreprocessing:
    """The values that the preprocessing fits on the training images; empty if it fits none.

    parts: the training parts, followed by the validation part if there is one."""
    if not preprocessing.is_fitted(dataset.preprocessing):
        return {}
    return _stored_values(_preprocessed_folder(dataset, root, parts, progress, None))


def _preprocessed_folder(
    dataset: Dataset, root: Path, parts: list[DecodedPart], progress: Progress, fitted: FittedPreprocessing | None
) -> Path:
    """The folder with the fitted values of the preprocessing and, unless it is elementwise, the preprocessed images and
    their labels. The folder is made if it does not exist. Arguments as in `prepared_images`."""
    fitted_on = (
        len(training_parts(dataset))
        if fitted is None
        else {name: _sha256(tensor.numpy()) for name, tensor in fitted.items()}
    )
    digests = [part.digest for part in parts]
    facts = [digests, fitted_on, dataset.preprocessing, dataset.pixel_max]
    if parts[0].images.sizes is not None:
        facts.append(asdict(centre_view(dataset)))
    key = content_hash("prepared", _PREPROCESSING_VERSION, *facts)
    folder = root / "data" / key
    if not folder.exists():
        with locks.locked(folder, f"the preprocessed images of {dataset.name}", progress.say):
            if not folder.exists():
                _preprocess(dataset, parts, folder, progress, fitted)
    return folder


def _preprocess(
    dataset: Dataset, parts: list[DecodedPart], folder: Path, progress: Progress, fitted: FittedPreprocessing | None
) -> None:
    if fitted is None:
        training = parts[: len(training_parts(dataset))]
        source = pixels(dataset, training, torch.device("cpu"))
        if preprocessing.is_elementwise(dataset.preprocessing):
            counts = _pixel_counts(source, training, progress)
            fitted = preprocessing.fit_counts(dataset.preprocessing, counts, dataset.pixel_max)
        else:
            fitted = preprocessing.fit(
                dataset.preprocessing,
                lambda: (_in_unit_range(source, rows, dataset.pixel_max) for rows in _chunks(training)),
            )
    with directories.fill(folder) as partial:
        if not preprocessing.is_elementwise(dataset.preprocessing):
            _write_preprocessed(dataset, parts, partial, progress, fitted)
        files.write(partial / "fitted.safetensors", save(fitted))


def _write_preprocessed(
    dataset: Dataset,
    parts: list[DecodedPart],
    partial: Path,
    progress: Progress,
    fitted: FittedPreprocessing,
) -> None:
    count = sum(len(part.labels) for part in parts)
    size = 4 * count * math.prod(image_shape(dataset))
    what = f"dataset={dataset.name}: its preprocessed images"
    # writing to a mapped file on a full disk kills the process
    files.check_space(partial.parent, size, what, "give another store=...")
    path = partial / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.float32, (count, *image_shape(dataset)))
    files.allocate(path)
    source = pixels(dataset, parts, torch.device("cpu"))
    chunks = list(_chunks(parts))
    for number in progress.track(range(len(chunks)), "preprocessing"):
        scaled = _in_unit_range(source, chunks[number], dataset.pixel_max)
        images[chunks[number]] = preprocessing.apply(dataset.preprocessing, fitted, scaled).numpy()
    images.flush()
    np.save(partial / "labels.npy", np.concatenate([part.labels for part in parts]))


def _chunks(parts: Iterable[DecodedPart]) -> Iterator[slice]:
    """The rows of all parts, at most `_CHUNK` images of one part and about `_CHUNK_BYTES` at a time."""
    first = 0
    for part in parts:
        chunk = min(_CHUNK, -(-_CHUNK_BYTES * len(part.images) // part.images.bytes))
        for start in range(first, first + len(part.images), chunk):
            yield slice(start, min(start + chunk, first + len(part.images)))
        first += len(part.images)


def _pixel_counts(source: Pixels, parts: list[DecodedPart], progress: Progress) -> Tensor:
    """(C, 256): number of pixels of each value in each channel of some parts."""

    def count(rows: slice) -> Tensor:
        pixels = source[torch.arange(rows.start, rows.stop)]
        return torch.stack([torch.bincount(values.flatten(), minlength=256) for values in pixels.unbind(dim=1)])

    chunks = list(_chunks(parts))
    counts = torch.zeros(source.shape[1], 256, dtype=torch.int64)
    with ThreadPoolExecutor(torch.get_num_threads(), "counting") as pool:
        all_counts = pool.map(count, chunks)
        for _ in progress.track(range(len(chunks)), "counting pixel values"):
            counts += next(all_counts)
    return counts


def _in_unit_range(source: Pixels, rows: slice, pixel_max: float) -> Tensor:
    return source[torch.arange(rows.start, rows.stop)].float() / pixel_max


def _stored_values(folder: Path) -> FittedPreprocessing:
    """The fitted values in the folder of a preprocessing. Raises DamagedError with the way out."""
    path = folder / "fitted.safetensors"
    with files.advise_removal(folder):
        try:
            return load_file(path)
        except (*permissions.DAMAGE, SafetensorError) as error:
            raise DamagedError(f"{path} cannot be read ({error})") from error


# --- files ---


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
