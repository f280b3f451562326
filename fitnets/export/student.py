"""`fitnets export`: a run's student as files, checked against PyTorch on real images, measured, described."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fitnets import build, data, digests, engine, metrics, sources, store
from fitnets.config import Config, Dataset
from fitnets.data import SplitName
from fitnets.export import card, quantised, runtimes
from fitnets.export.graphs import Bare, Whole, program, write_onnx
from fitnets.labelled import Watcher
from fitnets.networks import Network
from fitnets.options import ConfigError
from fitnets.plan import new_teacher
from fitnets.rules import has_test_split
from fitnets.stored import Stored

TOLERANCE = 1e-4
"""of the largest logit, by which a file may differ from PyTorch"""
_CHECKED = 1000
_CALIBRATED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Images:
    """Some images of a split. raw: (N, C, H, W) uint8; prepared: the same as networks are given them."""

    split: SplitName
    raw: Tensor
    prepared: Tensor
    labels: Tensor
    of: int

    def accuracy(self, logits: Tensor) -> float:
        return 1 - metrics.error(logits, self.labels)


def export(stored: Stored, settings: Config, out: Path, *, int8: bool, watcher: Watcher) -> dict[str, Any]:
    """Fill the folder `out`; gives what its `export.json` says. settings: whose store and threads are used.

    Raises ConfigError where the run has no student, its data are gone, or a file disagrees with PyTorch."""
    if not stored.of_run:
        raise ConfigError(f"{stored.weights.parent}: a teacher's folder: give that of a run, outputs/run/HASH")
    engine.device(settings.engine)  # sets the threads
    dataset, root = stored.config.dataset, settings.root
    student = _student(stored)
    teacher, why_none = _teacher(stored)
    images = _images(dataset, root, watcher)
    fitted = data.fitted_values(dataset, root, watcher)
    names = sources.class_names(dataset)
    told: dict[str, Any] = {
        "run": str(stored.weights.parent),
        "classes": names,
        "images": {"split": images.split, "checked": len(images.labels), "of": images.of},
    }
    store.check_writable(out.parent, "--out ")
    with store.directory(out, replace=True) as folder:
        watcher.say("tracing the student, and checking the files on " + _in_words(images))
        whole = Whole(student, dataset, fitted)
        traced = program(whole)
        torch.export.save(traced, folder / "student.pt2")
        write_onnx(traced, folder / "student.onnx", _props(dataset, names))
        told |= _agreement(folder, student, images)
        if int8:
            watcher.say("quantising it to 8 bits")
            told |= _quantised(folder, dataset, root, images, watcher)
        watcher.say("measuring latencies by ONNX Runtime, in turns")
        graphs: dict[str, Whole | Bare] = {"student": whole, "student, network only": _bare(student, dataset)}
        if teacher is not None:
            graphs |= {"teacher": Whole(teacher, dataset, fitted), "teacher, network only": _bare(teacher, dataset)}
        told |= {"latency": _latencies(folder, graphs), "no_teacher": why_none}
        told["machine"] = engine.describe_cpu()
        told["files"] = {
            path.name: {"bytes": path.stat().st_size, "sha256": digests.of_file(path, None)}
            for path in sorted(folder.iterdir())
        }
        result = store.read_json(stored.weights.parent / "result.json")
        store.write_json(folder / "export.json", told)
        store.write(folder / "card.md", card.text(stored.config, result, told).encode())
    return told


def _student(stored: Stored) -> Network:
    network = build.network(stored.net, stored.config.dataset, "student")
    store.read_weights(stored.weights, network)
    return network.eval()


def _teacher(stored: Stored) -> tuple[Network | None, str | None]:
    """With its weights where they still are: its speed does not depend on them. Or why there is none."""
    run = stored.weights.parent
    try:
        teacher = new_teacher(stored.config)
    except ConfigError as error:
        return None, str(error)
    weights = run.parent.parent / "teacher" / store.read_json(run / "result.json")["hashes"]["teacher"]
    if (weights / "teacher.safetensors").exists():
        store.read_weights(weights / "teacher.safetensors", teacher)
    return teacher.eval(), None


def _bare(network: Network, dataset: Dataset) -> Bare:
    return Bare(network, (dataset.channels, dataset.height, dataset.width))


def _images(dataset: Dataset, root: Path, watcher: Watcher) -> _Images:
    """Test images, evenly spaced; validation images of a data set that has none."""
    name: SplitName = "test" if has_test_split(dataset) else "valid"
    split = data.load_split(dataset, name, root, torch.device("cpu"), watcher, fitted_on=dataset)
    rows = split.rows[:: -(-len(split) // _CHECKED)]
    raw = data.raw_images(dataset, name, rows, root, watcher)
    return _Images(split=name, raw=raw, prepared=split.images[rows], labels=split.labels[rows], of=len(split))


def _in_words(images: _Images) -> str:
    return f"{len(images.labels)} of {images.of} {images.split} images"


def _props(dataset: Dataset, names: list[str] | None) -> dict[str, str]:
    pixels = f"uint8, 0 to {dataset.pixel_max:g}, {dataset.channels}x{dataset.height}x{dataset.width}, channels first"
    told = {"images": pixels, "preprocessing": f"{dataset.preprocessing.name}, in the graph"}
    return told | ({"classes": "\n".join(names)} if names else {})


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


def _quantised(folder: Path, dataset: Dataset, root: Path, images: _Images, watcher: Watcher) -> dict[str, Any]:
    """Its accuracy, and how often it agrees with what it was made from."""
    training = data.load_split(dataset, "train", root, torch.device("cpu"), watcher, fitted_on=dataset)
    rows = training.rows[:: -(-len(training) // _CALIBRATED)]
    target = folder / "student-int8.onnx"
    quantised.quantise(folder / "student.onnx", target, data.raw_images(dataset, "train", rows, root, watcher))
    runners = [runtimes.onnx_runner(path) for path in (target, folder / "student.onnx")]
    logits, expected = (runtimes.in_batches(run, images.raw) for run in runners)
    return {
        "int8": {
            "accuracy": images.accuracy(logits),
            "float_accuracy": images.accuracy(expected),
            "agreement": metrics.agreement(logits, expected),
            "calibrated_on": len(rows),
        }
    }


def _latencies(folder: Path, graphs: dict[str, Whole | Bare]) -> list[dict[str, Any]]:
    """Files that are only measured are not kept."""
    files: dict[str, tuple[Path, Callable[[int], Tensor]]] = {}
    measured_only: list[Path] = []
    for name, graph in graphs.items():
        path = folder / "student.onnx"
        if name != "student":
            path = folder / f".{name}.onnx"
            write_onnx(program(graph), path, {})
            measured_only.append(path)
        files[name] = path, graph.example
    int8 = folder / "student-int8.onnx"
    if int8.exists():
        files["student, int8"] = int8, graphs["student"].example
    try:
        return runtimes.latencies(files)
    finally:
        for path in measured_only:
            path.unlink()
