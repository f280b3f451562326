"""Draws what the hint layer and the guided layer see in images."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fitnets.config import Config
from fitnets.console.terminal import Terminal
from fitnets.data import splits
from fitnets.errors import NotEnoughError
from fitnets.experiment import evaluation
from fitnets.reporting.figures.style import default_style, literal
from fitnets.store import earlier_runs, files, layout
from fitnets.store.layout import StoreLayout

_INCHES = 1.1
"""side of an image"""


@default_style()
def seen(folder: Path, settings: Config, count: int = 8) -> Figure:
    """Draw some validation images of a run, and below each one what the teacher's hint layer and the student's guided
    layer make of it: the mean over all channels.

    folder: folder of the run
    settings: the configuration whose engine is used
    count: number of images

    Raises NotEnoughError if the run has no hint, if the layers give no maps, or if the teacher is not in the store."""
    progress, (hint, teacher) = Terminal(quiet=True), _pair(folder)
    networks = {
        f"teacher, {hint['teacher_layer']}": (teacher, hint["teacher_layer"]),
        f"student, {hint['student_layer']}": (folder, hint["student_layer"]),
    }
    stored = earlier_runs.find_network(str(folder), "run")
    dataset, root, cpu = stored.config.dataset, folder.resolve().parents[1], torch.device("cpu")
    fitted = evaluation.fitted_values(stored, root, progress)
    split = splits.load_split(dataset, "valid", root, cpu, progress, fitted_on=dataset, fitted=fitted)
    rows = split.rows[:count]
    shown = {"image": splits.raw_images(dataset, "valid", rows, root, progress).float().mean(1)}
    for name, (place, layer) in networks.items():
        network = evaluation.rebuild(earlier_runs.find_network(str(place), "run"), settings, cpu).eval()
        with torch.no_grad():
            features = network.features(split.images[rows], [layer])[layer].float()
        if features.ndim != 4:
            raise NotEnoughError(f"{name} gives {tuple(features.shape[1:])}, which is no map")
        shown[name] = features.mean(1)
    return _grid(shown)


def _pair(folder: Path) -> tuple[dict[str, Any], Path]:
    """The pair of layers, and the teacher's folder."""
    result = files.read_json(folder / layout.RESULT)
    if result["hint"] is None or result["hashes"]["teacher"] is None:
        raise NotEnoughError(f"the run's method ({result['method']}) compares no two layers")
    teacher = StoreLayout(folder.resolve().parents[1]).teacher(result["hashes"]["teacher"])
    if not teacher.is_dir():
        raise NotEnoughError("the teacher's weights are not in the store")
    return result["hint"], teacher


def _grid(shown: dict[str, Tensor]) -> Figure:
    """One row for each name, one column for each image."""
    columns = len(next(iter(shown.values())))
    figure = Figure(figsize=(_INCHES * (columns + 1.5), _INCHES * len(shown)), layout="constrained", dpi=100)
    grid = figure.subplots(len(shown), columns, squeeze=False)
    for line, (name, maps) in zip(grid, shown.items(), strict=True):
        line[0].set_ylabel(literal(name), rotation=0, ha="right", va="center", fontsize=8)
        for axes, one in zip(line, maps, strict=True):
            axes.imshow(one.numpy(), cmap="gray", interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
