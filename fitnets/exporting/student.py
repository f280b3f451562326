"""`fitnets export`: a run's student as files, checked against PyTorch on real images, measured, described."""

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
from fitnets.data.test_split import has_test_split
from fitnets.errors import ConfigError
from fitnets.experiment import evaluation
from fitnets.exporting import card, quantised, runtimes
from fitnets.exporting.graphs import Bare, Whole, program, write_onnx
from fitnets.exporting.runtimes import Files
from fitnets.machine import devices
from fitnets.models import build
from fitnets.models.custom import imports
from fitnets.models.network import Network
from fitnets.planning.plan import new_teacher
from fitnets.progress import Progress
from fitnets.store import digests, directories, layout, locks, ownership
from fitnets.store import files as store_files
from fitnets.store import weights as store_weights
from fitnets.store.earlier_runs import StoredNetwork
from fitnets.store.layout import StoreLayout
from fitnets.training import metrics

TOLERANCE = 1e-4
"""of the largest logit, by which a file may differ from PyTorch"""
_CHECKED = 1000
_RANDOM = 100
_CALIBRATED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Images:
    """Some images of a split, or random ones. raw: (N, C, H, W) uint8; prepared: the same as networks are given them.
    labels: (N,), None for random images; of: images of the split; missing: why there are no real ones."""

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


def export(stored: StoredNetwork, settings: Config, out: Path, *, int8: bool, progress: Progress) -> dict[str, Any]:
    """Fill the folder `out`; gives what its `export.json` says. settings: whose store and threads are used. The files
    are checked on random images where the run's data are gone, or are not what they were.

    Raises ConfigError where the run has no student, what its preprocessing learnt is gone with the data, or a file
    disagrees with PyTorch."""
    if not stored.of_run:
        raise ConfigError(f"{stored.weights.parent}: a teacher's folder: give that of a run, outputs/run/HASH")
    _check_replaceable(out)
    devices.set_up_device(settings.engine)  # sets the threads
    dataset, root = stored.config.dataset, settings.root
    student = _student(stored)
    fitted = evaluation.fitted_values(stored, root, progress)
    names = class_names.of_network(stored)
    images = _images(stored, names.names, root, progress, fitted)
    if int8 and images.missing:
        raise ConfigError(f"--int8 is calibrated on training images, which cannot be had: {images.missing}")
    for note in filter(None, (names.note, images.missing and f"checked on random images: {images.missing}")):
        progress.say(f"note: {note}")
    whole = Whole(student, dataset, fitted)
    facts: dict[str, Any] = {
        "run": str(stored.weights.parent),
        "classes": names.names,
        "input": image_files.described(dataset),
        "images": {"split": images.split, "checked": len(images.raw), "of": images.of}
        | ({"missing": images.missing} if images.missing else {}),
    }
    with locks.locked(out, "an export there", progress.say), directories.fill(out, replace=True) as folder:
        progress.say(f"tracing the student; checking the files on {images.described()}")
        traced = _written(whole, folder / "student.onnx", "the student", _props(dataset, names.names))
        torch.export.save(traced, folder / "student.pt2")
        facts |= _agreement(folder, student, images)
        if int8:
            progress.say("quantising it to 8 bits")
            calibration = _calibration(dataset, root, progress)
            facts |= _quantised(folder, calibration, images)
        progress.say("measuring latencies by ONNX Runtime, in turns")
        facts |= _latencies(folder, stored, whole) | {"machine": devices.describe_cpu()}
        facts["files"] = {
            path.name: {"bytes": path.stat().st_size, "sha256": digests.of_file(path, None)}
            for path in sorted(folder.iterdir())
        }
        result = store_files.read_json(stored.weights.parent / layout.RESULT)
        store_files.write_json(folder / layout.EXPORT_RECORD, facts)
        store_files.write(folder / layout.CARD, card.text(stored.config, result, facts).encode(errors="replace"))
    return facts


def _check_replaceable(out: Path) -> None:
    """Raises ConfigError where something else than an earlier export would be lost, or nothing can be written."""
    if out.exists() and not (out / layout.EXPORT_RECORD).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"--out {out}: it is there, and no earlier export: give a new folder")
    if out.is_dir() and not ownership.is_export(out):
        raise ConfigError(f"--out {out}: it holds files beside those of an export: move them, or give a new folder")
    directories.check_writable(out.parent, "--out ")


def _written(graph: Whole | Bare, path: Path, what: str, told: dict[str, str] | None = None) -> ExportedProgram:
    """The graph's ONNX file, and the program that it was made from."""
    try:
        traced = program(graph)
        write_onnx(traced, path, told or {})
    except Exception as error:  # of a network that cannot be traced
        raise ConfigError(
            f"{what} cannot be exported ({type(error).__name__}: {imports.first_line(error)}): its forward must be the "
            "same for all images and for batches of any size"
        ) from error
    return traced


def _student(stored: StoredNetwork) -> Network:
    network = build.network(stored.net, stored.config.dataset, "student")
    store_weights.read_weights(stored.weights, network)
    return _without_parametrizations(network.eval())


def _without_parametrizations(network: Network) -> Network:
    """Replace weights that are computed at every call (weight_norm, orthogonal and the like) by their values."""
    for module in network.modules():
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
    return network


def _teacher(stored: StoredNetwork) -> Network:
    """With its weights where they still are: its speed does not depend on them. ConfigError: it cannot be had."""
    run = stored.weights.parent
    teacher = new_teacher(stored.config)
    weights = StoreLayout(run.parent.parent).teacher(store_files.read_json(run / layout.RESULT)["hashes"]["teacher"])
    if (weights / layout.TEACHER_WEIGHTS).exists():
        store_weights.read_weights(weights / layout.TEACHER_WEIGHTS, teacher)
    return teacher.eval()


def _bare(network: Network, dataset: Dataset) -> Bare:
    return Bare(network, image_shape(dataset))


def _images(
    stored: StoredNetwork, names: list[str] | None, root: Path, progress: Progress, fitted: FittedPreprocessing
) -> _Images:
    """Test images, evenly spaced; validation images of a data set that has none; random ones where the data are gone,
    or images or classes are not those of the run any more. names: of the network's classes."""
    dataset = stored.config.dataset
    name: SplitName = "test" if has_test_split(dataset) else "valid"
    try:
        found = class_names.of_data(dataset).names
        if names is not None and found is not None and not class_names.are_equal(names, found):
            raise ConfigError(f"dataset={dataset.name} has the classes {class_names.listed(found)} now")
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
    told = {"images": pixels, "preprocessing": f"{dataset.preprocessing.name}, in the graph"}
    told["resizing"] = image_files.described(dataset)
    return told | ({"classes": "\n".join(map(_one_line, names))} if names else {})


def _one_line(name: str) -> str:
    """A class name that can be a line of text in UTF-8: control characters and bytes without a meaning are replaced."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return " ".join(text.splitlines()) or text


@torch.no_grad()
def _agreement(folder: Path, student: Network, images: _Images) -> dict[str, Any]:
    """How far the files are from PyTorch, which is given the images as training gives them. ConfigError: too far."""
    expected = torch.cat([student(batch)[0] for batch in torch.split(images.prepared, 100)])
    runners = {
        "student.onnx": runtimes.onnx_runner(folder / "student.onnx"),
        "student.pt2": runtimes.program_runner(folder / "student.pt2"),
    }
    logits = {name: runtimes.in_batches(run, images.raw) for name, run in runners.items()}
    differences = {name: runtimes.difference(answered, expected) for name, answered in logits.items()}
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            raise ConfigError(
                f"{name} differs from PyTorch by {difference:.2g} of the largest logit, and {TOLERANCE:g} is allowed: "
                "nothing was exported"
            )
    accuracies = {"PyTorch": images.accuracy(expected)}
    accuracies |= {name: images.accuracy(answered) for name, answered in logits.items()}
    return {"difference": differences, "accuracy": accuracies}


def _calibration(dataset: Dataset, root: Path, progress: Progress) -> Tensor:
    """(N, C, H, W) uint8: training images, evenly spaced."""
    training = splits.load_split(dataset, "train", root, torch.device("cpu"), progress, fitted_on=dataset)
    rows = training.rows[:: -(-len(training) // _CALIBRATED)]
    return splits.raw_images(dataset, "train", rows, root, progress)


def _quantised(folder: Path, calibration: Tensor, images: _Images) -> dict[str, Any]:
    """Its accuracy, and how often it agrees with what it was made from."""
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


def _latencies(folder: Path, stored: StoredNetwork, whole: Whole) -> dict[str, Any]:
    """Of the exported files, and of files that are only measured."""
    dataset = stored.config.dataset
    files: Files = {"student": (folder / "student.onnx", whole.example)}
    why_none = None
    with tempfile.TemporaryDirectory() as scratch:
        graphs: dict[str, Whole | Bare] = {"student, network only": _bare(whole.network, dataset)}
        _add(files, graphs, Path(scratch), "the student")
        if not isinstance(stored.config.teacher, NoTeacher):
            why_none = _add_teacher(files, stored, whole, Path(scratch))
        if (folder / "student-int8.onnx").exists():
            files["student, int8"] = folder / "student-int8.onnx", whole.example
        return {"latency": runtimes.latencies(files), "no_teacher": why_none}


def _add_teacher(files: Files, stored: StoredNetwork, whole: Whole, scratch: Path) -> str | None:
    """Add the teacher's files, which are only measured. Gives why there are none, if so."""
    dataset = stored.config.dataset
    try:
        teacher = _teacher(stored)
        fitted = dict(whole.named_buffers(recurse=False))
        teacher.set_preprocessing(dataset.preprocessing, fitted)
        graphs: dict[str, Whole | Bare] = {
            "teacher": Whole(teacher, dataset, fitted),
            "teacher, network only": _bare(teacher, dataset),
        }
        _add(files, graphs, scratch, "the teacher")
    except ConfigError as error:
        return str(error).splitlines()[0]
    return None


def _add(files: Files, graphs: dict[str, Whole | Bare], scratch: Path, what: str) -> None:
    made = {name: (scratch / f"{name}.onnx", graph.example) for name, graph in graphs.items()}
    for name, graph in graphs.items():
        _written(graph, made[name][0], what)
    files |= made
