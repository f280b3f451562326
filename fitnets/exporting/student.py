"""Exports a run's student as files, checks them against PyTorch on real images, times and describes them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrize

from fitnets.config import Config, Dataset, NoTeacher, image_shape
from fitnets.data import class_names, image_files, preprocessing, splits
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.data.splits import SplitName
from fitnets.data.unread import has_test_split
from fitnets.errors import ConfigError
from fitnets.experiment import evaluation
from fitnets.exporting import card, quantised, runtimes
from fitnets.exporting.graphs import Graph, program, write_onnx
from fitnets.exporting.runtimes import Files
from fitnets.machine import devices
from fitnets.models import build
from fitnets.models.folding import folded
from fitnets.models.network import Network
from fitnets.models.raw_images import NetworkOnly, WithPreprocessing
from fitnets.planning.plan import new_teacher
from fitnets.progress import Progress
from fitnets.store import digests, directories, layout, locks, ownership
from fitnets.store import files as store_files
from fitnets.store import weights as store_weights
from fitnets.store.earlier_runs import StoredNetwork
from fitnets.store.layout import StoreLayout
from fitnets.system import imports
from fitnets.training import metrics

TOLERANCE = 1e-4
"""Largest difference between a file and PyTorch that is allowed, relative to the largest logit."""
_CHECKED = 1000
"""Largest number of real images on which the files are checked."""
_RANDOM = 100
"""Number of random images, if there are no real ones."""
_CALIBRATED = 200
"""Largest number of training images that calibrate the 8-bit file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Images:
    """Images of a split, or random ones, on which the files are checked.

    split: None for random images
    raw: (N, C, H, W) uint8
    prepared: (N, C, H, W), the same images preprocessed
    labels: (N,), None for random images
    of: number of images in the split
    missing: why there are no real images
    """

    split: SplitName | None
    raw: Tensor
    prepared: Tensor
    labels: Tensor | None
    of: int
    missing: str | None = None

    def accuracy(self, logits: Tensor) -> float | None:
        return None if self.labels is None else 1 - metrics.error(logits, self.labels)

    def described(self) -> str:
        if self.split is None:
            return f"{len(self.raw)} random images"
        return f"{len(self.raw)} of {self.of} {self.split} images"


def export_student(
    stored: StoredNetwork, settings: Config, out: Path, *, int8: bool, progress: Progress
) -> dict[str, Any]:
    """Fill the folder `out` and return the content of its `export.json`.

    settings: give the store and the number of threads
    int8: also write a file that computes in 8 bits

    The files are checked on random images if the run's data are missing or have changed.

    Raises ConfigError if the run has no student, if a file disagrees with PyTorch, or if the run did not record its
    fitted preprocessing and the data to fit it again are missing.
    """
    if not stored.is_student:
        raise ConfigError(
            f"{stored.weights.parent}: this is a teacher's folder: give the folder of a run, outputs/run/HASH"
        )
    _check_replaceable(out)
    devices.set_up_device(settings.engine)  # sets the threads
    dataset, root = stored.config.dataset, settings.root
    student = trained_network(stored)
    fitted = evaluation.fitted_values(stored, root, progress)
    names = class_names.of_network(stored)
    images = _images(stored, names.names, root, progress, fitted)
    if int8 and images.missing:
        raise ConfigError(f"--int8 is calibrated on training images, which are not available: {images.missing}")
    for note in filter(None, (names.note, images.missing and f"checked on random images: {images.missing}")):
        progress.say(f"note: {note}")
    graph = WithPreprocessing(student, dataset, fitted)
    facts: dict[str, Any] = {
        "run": str(stored.weights.parent),
        "classes": names.names,
        "input": image_files.describe(dataset),
        "images": {"split": images.split, "checked": len(images.raw), "of": images.of}
        | ({"missing": images.missing} if images.missing else {}),
    }
    with locks.locked(out, "an export there", progress.say), directories.fill(out, replace=True) as folder:
        progress.say(f"tracing the student; checking the files on {images.described()}")
        traced = _traced(graph, folder / "student.onnx", "the student", _props(dataset, names.names))
        torch.export.save(traced, folder / "student.pt2")
        facts |= _agreement(folder, student, images)
        if int8:
            progress.say("quantising it to 8 bits")
            calibration = _calibration(dataset, root, progress)
            facts |= _quantised(folder, calibration, images)
        progress.say("timing the files in ONNX Runtime, in alternation")
        facts |= _latencies(folder, stored, graph) | {"machine": devices.describe_cpu()}
        facts["files"] = {
            path.name: {"bytes": path.stat().st_size, "sha256": digests.of_file(path, None)}
            for path in sorted(folder.iterdir())
        }
        result = store_files.read_json(stored.weights.parent / layout.RESULT)
        store_files.write_json(folder / layout.EXPORT_RECORD, facts)
        store_files.write(folder / layout.CARD, card.text(stored.config, result, facts).encode(errors="replace"))
    return facts


def write_checked_onnx(graph: WithPreprocessing, path: Path, dataset: Dataset, names: list[str] | None) -> None:
    """Write a student's ONNX file, and check it on random images.

    names: class names; None: unknown

    Raises ConfigError if the student cannot be traced, or if the file disagrees with PyTorch.
    """
    _traced(graph, path, "the student", _props(dataset, names))
    images = graph.example(_RANDOM)
    with torch.no_grad():
        _check_difference(path.name, runtimes.in_batches(runtimes.onnx_runner(path), images), graph(images))


def _check_difference(name: str, logits: Tensor, expected: Tensor) -> float:
    difference = runtimes.difference(logits, expected)
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"{name} differs from PyTorch by {difference:.2g} of the largest logit, and {TOLERANCE:g} is allowed: "
            "nothing was exported"
        )
    return difference


def _check_replaceable(out: Path) -> None:
    """Raise ConfigError if the export would replace anything but an earlier export, or cannot be written."""
    if out.exists() and not (out / "export.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"--out {out}: it exists and is no earlier export: give a new folder")
    if out.is_dir() and not ownership.is_export(out):
        raise ConfigError(f"--out {out}: it holds other files than those of an export: move them, or give a new folder")
    directories.check_writable(out.parent, "--out ")


def _traced(graph: Graph, path: Path, side: str, metadata: dict[str, str] | None = None) -> ExportedProgram:
    """Trace a graph, write its ONNX file and return the traced program.

    side: 'the student' or 'the teacher', for the message of a ConfigError
    """
    try:
        traced = program(graph)
        write_onnx(traced, path, metadata or {})
    except Exception as error:  # the network cannot be traced
        raise ConfigError(
            f"{side} cannot be exported ({type(error).__name__}: {imports.first_line(error)}): its forward must be the "
            "same for all images and for batches of any size"
        ) from error
    return traced


def trained_network(stored: StoredNetwork) -> Network:
    """Return the student with its weights, ready to be traced, in evaluation mode."""
    network = build.network(stored.net, stored.config.dataset, "student")
    store_weights.read_weights(stored.weights, network)
    return folded(_without_parametrizations(network.eval()))


def _without_parametrizations(network: Network) -> Network:
    """Replace weights that are computed at every call (weight_norm, orthogonal and others) by their values."""
    for module in network.modules():
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
    return network


def _teacher(stored: StoredNetwork) -> Network:
    """Build the teacher, with its weights if they still exist: its speed does not depend on them.

    Raises ConfigError if the teacher cannot be built.
    """
    run = stored.weights.parent
    teacher = new_teacher(stored.config)
    weights = StoreLayout(run.parent.parent).teacher(store_files.read_json(run / layout.RESULT)["hashes"]["teacher"])
    if (weights / layout.TEACHER_WEIGHTS).exists():
        store_weights.read_weights(weights / layout.TEACHER_WEIGHTS, teacher)
    return teacher.eval()


def _network_only(network: Network, dataset: Dataset) -> NetworkOnly:
    return NetworkOnly(network, image_shape(dataset))


def _images(
    stored: StoredNetwork, names: list[str] | None, root: Path, progress: Progress, fitted: FittedPreprocessing
) -> _Images:
    """Return evenly spaced test images, or validation images if the data set has no test split.

    names: names of the network's classes; None: unknown

    If the data are missing, or the images or classes have changed since the run, the images are random.
    """
    dataset = stored.config.dataset
    name: SplitName = "test" if has_test_split(dataset) else "valid"
    try:
        data_names = class_names.of_data(dataset).names
        if names is not None and data_names is not None and not class_names.are_equal(names, data_names):
            raise ConfigError(f"dataset={dataset.name} has the classes {class_names.listed(data_names)} now")
        if splits.digest(dataset, root, progress) != stored.data_digest():
            raise ConfigError(f"dataset={dataset.name} has other images now than those that the run was trained on")
        split = splits.load_split(dataset, name, root, torch.device("cpu"), progress, fitted_on=dataset, fitted=fitted)
        rows = split.rows[:: -(-len(split) // _CHECKED)]
        raw = splits.raw_images(dataset, name, rows, root, progress)
    except ConfigError as error:
        return _random_images(dataset, fitted, str(error).splitlines()[0])
    return _Images(split=name, raw=raw, prepared=split.images[rows], labels=split.labels[rows], of=len(split))


def _random_images(dataset: Dataset, fitted: FittedPreprocessing, missing: str) -> _Images:
    generator = torch.Generator().manual_seed(0)
    size = (_RANDOM, *image_shape(dataset))
    raw = torch.randint(0, int(dataset.pixel_max) + 1, size, dtype=torch.uint8, generator=generator)
    prepared = preprocessing.apply(dataset.preprocessing, fitted, raw.float() / dataset.pixel_max)
    return _Images(split=None, raw=raw, prepared=prepared, labels=None, of=0, missing=missing)


def _props(dataset: Dataset, names: list[str] | None) -> dict[str, str]:
    pixels = f"uint8, 0 to {dataset.pixel_max:g}, {dataset.channels}x{dataset.height}x{dataset.width}, channels first"
    props = {"images": pixels, "preprocessing": f"{dataset.preprocessing.name}, in the graph"}
    props["resizing"] = image_files.describe(dataset)
    return props | ({"classes": "\n".join(map(_one_line, names))} if names else {})


def _one_line(name: str) -> str:
    """Return a class name as one line of valid UTF-8: line breaks become spaces, invalid bytes are escaped."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return " ".join(text.splitlines()) or text


@torch.no_grad()
def _agreement(folder: Path, student: Network, images: _Images) -> dict[str, Any]:
    """Compare the files with PyTorch, which gets the preprocessed images: differences of logits, and accuracies.

    Raises ConfigError if a file differs by more than TOLERANCE.
    """
    expected = torch.cat([student(batch)[0] for batch in torch.split(images.prepared, 100)])
    runners = {
        "student.onnx": runtimes.onnx_runner(folder / "student.onnx"),
        "student.pt2": runtimes.program_runner(folder / "student.pt2"),
    }
    logits = {name: runtimes.in_batches(run, images.raw) for name, run in runners.items()}
    differences = {name: _check_difference(name, of_file, expected) for name, of_file in logits.items()}
    accuracies = {"PyTorch": images.accuracy(expected)}
    accuracies |= {name: images.accuracy(of_file) for name, of_file in logits.items()}
    return {"difference": differences, "accuracy": accuracies}


def _calibration(dataset: Dataset, root: Path, progress: Progress) -> Tensor:
    """Return evenly spaced training images, (N, C, H, W) uint8."""
    training = splits.load_split(dataset, "train", root, torch.device("cpu"), progress, fitted_on=dataset)
    rows = training.rows[:: -(-len(training) // _CALIBRATED)]
    return splits.raw_images(dataset, "train", rows, root, progress)


def _quantised(folder: Path, calibration: Tensor, images: _Images) -> dict[str, Any]:
    """Quantise the student's file; measure its accuracy, and how often its classes agree with the original file."""
    target = folder / "student-int8.onnx"
    quantised.quantise(folder / "student.onnx", target, calibration)
    runners = [runtimes.onnx_runner(path) for path in (target, folder / "student.onnx")]
    logits, expected = (runtimes.in_batches(run, images.raw) for run in runners)
    return {
        "int8": {
            "accuracy": images.accuracy(logits),
            "float_accuracy": images.accuracy(expected),
            "agreement": metrics.agreement(logits, expected),
            "calibrated_on": len(calibration),
        }
    }


def _latencies(folder: Path, stored: StoredNetwork, student: WithPreprocessing) -> dict[str, Any]:
    """Time the exported files, and temporary files of the teacher and of the networks without preprocessing."""
    dataset = stored.config.dataset
    files: Files = {"student": (folder / "student.onnx", student.example)}
    why_no_teacher = None
    with tempfile.TemporaryDirectory() as scratch:
        graphs: dict[str, Graph] = {"student, network only": _network_only(student.network, dataset)}
        _add(files, graphs, Path(scratch), "the student")
        if not isinstance(stored.config.teacher, NoTeacher):
            why_no_teacher = _add_teacher(files, stored, student, Path(scratch))
        if (folder / "student-int8.onnx").exists():
            files["student, int8"] = folder / "student-int8.onnx", student.example
        return {"latency": runtimes.latencies(files), "no_teacher": why_no_teacher}


def _add_teacher(files: Files, stored: StoredNetwork, student: WithPreprocessing, scratch: Path) -> str | None:
    """Add the teacher's files, which are only timed. Return the reason if the teacher cannot be exported."""
    dataset = stored.config.dataset
    try:
        teacher = _teacher(stored)
        fitted = dict(student.named_buffers(recurse=False))
        teacher.set_preprocessing(dataset.preprocessing, fitted)
        graphs: dict[str, Graph] = {
            "teacher": WithPreprocessing(teacher, dataset, fitted),
            "teacher, network only": _network_only(teacher, dataset),
        }
        _add(files, graphs, scratch, "the teacher")
    except ConfigError as error:
        return str(error).splitlines()[0]
    return None


def _add(files: Files, graphs: dict[str, Graph], scratch: Path, side: str) -> None:
    onnx_files = {name: (scratch / f"{name}.onnx", graph.example) for name, graph in graphs.items()}
    for name, graph in graphs.items():
        _traced(graph, onnx_files[name][0], side)
    files |= onnx_files
