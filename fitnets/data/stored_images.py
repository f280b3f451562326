"""Images in the store: each part of a data set is decoded and preprocessed once, then memory-mapped."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fitnets.config import Dataset, image_shape
from fitnets.config.options import content_hash
from fitnets.data import preprocessing, sources
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.data.reading.decoding import Report
from fitnets.data.sources import Source, SplitPart, source, training_parts
from fitnets.errors import ConfigError, DamagedError
from fitnets.progress import Progress
from fitnets.store import directories, files, locks
from fitnets.system import permissions

_CHUNK = 2000
"""images preprocessed at a time"""
_PREPROCESSING_VERSION = 1
"""a part of the hash: raise it whenever the code makes other preprocessed images from the same decoded ones"""


@dataclass(frozen=True, slots=True)
class DecodedPart:
    """A decoded part of a data set, mapped from its files in the store."""

    images: NDArray[np.uint8]
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
    return DecodedPart(_mapped(folder / "images.npy"), _mapped(folder / "labels.npy"), meta["sha256"], report)


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
    decoded = origin.read(progress.track)
    sources.check_report(dataset, decoded.report)
    images, labels = decoded.raw
    if len(images) == 0:
        raise ConfigError(f"dataset={dataset.name}: no image of the {part} split can be used")
    sources.check_labels(dataset, part, labels)
    assert images.shape == (len(labels), *image_shape(dataset))
    with directories.fill(folder) as partial:
        np.save(partial / "images.npy", images)
        np.save(partial / "labels.npy", labels)
        meta = {
            "source": origin.identity,
            "images": len(images),
            "sha256": _sha256(images, labels),
            "report": asdict(decoded.report),
        }
        files.write_json(partial / "meta.json", meta)


# --- preprocessed images ---


def preprocessed_folder(
    dataset: Dataset,
    root: Path,
    parts: list[DecodedPart],
    progress: Progress,
    *,
    fitted: FittedPreprocessing | None = None,
) -> Path:
    """The folder with the preprocessed images of some parts, in the order of the parts, their labels, and the fitted
    values of the preprocessing. The folder is made if it does not exist.

    parts: if `fitted` is None, the training parts, followed by the validation part if there is one.
    fitted: the fitted values; None: the preprocessing is fitted on the training parts."""
    fitted_on = (
        len(training_parts(dataset))
        if fitted is None
        else {name: _sha256(tensor.numpy()) for name, tensor in fitted.items()}
    )
    digests = [part.digest for part in parts]
    key = content_hash("prepared", _PREPROCESSING_VERSION, digests, fitted_on, dataset.preprocessing, dataset.pixel_max)
    folder = root / "data" / key
    if not folder.exists():
        with locks.locked(folder, f"the preprocessed images of {dataset.name}", progress.say):
            if not folder.exists():
                _preprocess(dataset, parts, folder, progress, fitted)
    return folder


def _preprocess(
    dataset: Dataset, parts: list[DecodedPart], folder: Path, progress: Progress, fitted: FittedPreprocessing | None
) -> None:
    count = sum(len(part.labels) for part in parts)
    if fitted is None:
        training = parts[: len(training_parts(dataset))]
        fitted = preprocessing.fit(dataset.preprocessing, lambda: _chunks(training, dataset.pixel_max))
    size = 4 * count * parts[0].images[0].size
    what = f"dataset={dataset.name}: its preprocessed images"
    # writing to a mapped file on a full disk kills the process
    files.check_space(folder.parent, size, what, "give another store=...")
    with directories.fill(folder) as partial:
        path = partial / "images.npy"
        images = np.lib.format.open_memmap(path, "w+", np.float32, (count, *parts[0].images.shape[1:]))
        files.allocate(path)
        chunks = _chunks(parts, dataset.pixel_max)
        filled = 0
        for _ in progress.track(range(sum(-(-len(part.labels) // _CHUNK) for part in parts)), "preprocessing"):
            chunk = preprocessing.apply(dataset.preprocessing, fitted, next(chunks))
            images[filled : filled + len(chunk)] = chunk.numpy()
            filled += len(chunk)
        images.flush()
        np.save(partial / "labels.npy", np.concatenate([part.labels for part in parts]))
        files.write(partial / "fitted.safetensors", save(fitted))


def _chunks(parts: Iterable[DecodedPart], pixel_max: float) -> Iterator[Tensor]:
    """The images in [0, 1], at most `_CHUNK` at a time."""
    for part in parts:
        for start in range(0, len(part.images), _CHUNK):
            yield torch.from_numpy(part.images[start : start + _CHUNK].astype(np.float32)) / pixel_max


def preprocessed_tensors(folder: Path, device: torch.device) -> tuple[Tensor, Tensor]:
    """The images (N, C, H, W) and labels (N,) of a `preprocessed_folder`. Raises DamagedError with the way out."""
    images, labels = (torch.from_numpy(_mapped(folder / f"{name}.npy")).to(device) for name in ("images", "labels"))
    return images, labels


def fitted_preprocessing(folder: Path) -> FittedPreprocessing:
    """The fitted values of a `preprocessed_folder`. Raises DamagedError with the way out."""
    path = folder / "fitted.safetensors"
    with files.advise_removal(folder):
        try:
            return load_file(path)
        except (*permissions.DAMAGE, SafetensorError) as error:
            raise DamagedError(f"{path} cannot be read ({error})") from error


# --- files ---


def _mapped(path: Path) -> NDArray[Any]:
    """Map an array from its file. Raises DamagedError with the way out."""
    with files.advise_removal(path.parent):
        try:  # PyTorch needs a writable array: copy on write leaves the file as it is
            array: NDArray[Any] = np.load(path, mmap_mode="c")
        except (*permissions.DAMAGE, EOFError) as error:
            raise DamagedError(f"{path} cannot be read ({error})") from error
    return array


def _sha256(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
