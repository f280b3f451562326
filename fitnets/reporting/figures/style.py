"""Colours, axes, legends and error bars that all figures share.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. Each method also has its own
marker, for print without colours."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fitnets.reporting import tradeoff
from fitnets.reporting.intervals import bounds, interval, resolution

STYLES = {
    "hints": ("#0072B2", "o"),
    "kd": ("#D55E00", "s"),
    "backprop": ("#009E73", "^"),
    "joint": ("#CC79A7", "D"),
    "mimic": ("#E69F00", "v"),
    "dsn": ("#56B4E9", "P"),
    "labels_then_labels": ("#7F6A00", "<"),
    "labels_with_labels": ("#7A4FBF", ">"),
    "labels_then_kd": ("#8C564B", "X"),
    "labels_with_kd": ("#5F5F5F", "h"),
}
"""Colour and matplotlib marker of each method."""
INK, MUTED, GRID = "#222222", "#666666", "#DDDDDD"
WIDTH, HEIGHT = 6.4, 4.2
"""Default size of a figure in inches."""
SPLIT_NAMES = {"valid": "validation", "test": "test"}


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's defaults inside, so that a user's matplotlibrc or style does not change the figures."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def add_axes(figure: Figure, place: tuple[int, int, int] = (1, 1, 1), **labels: str) -> Axes:
    """Add axes with a grid.

    place: number of rows, number of columns, and the index of this panel, counted from 1
    labels: title, xlabel, ylabel
    """
    axes: Axes = figure.add_subplot(*place)
    axes.set(**labels)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def add_legend(axes: Axes) -> None:
    axes.legend(fontsize=7, frameon=False)


def literal(name: object) -> str:
    """Escape dollar signs, which matplotlib would read as the start of a formula."""
    return str(name).replace("$", r"\$")


def titled(frame: pd.DataFrame, subject: str) -> str:
    """A figure's title: the tasks of its finished runs, then its subject."""
    names = sorted(tradeoff.task_names(tradeoff.finished(frame)).unique())
    return f"{literal(', '.join(names))}: {subject}"


def error_bars(means: Iterable[Any], half_widths: Iterable[Any]) -> list[list[float]]:
    """Lengths of the error bars below and above accuracies in %, cut off at 0 and 100 %."""
    lengths = [
        (0.0, 0.0) if pd.isna(half_width) else tuple(abs(end - mean) for end in bounds(float(mean), float(half_width)))
        for mean, half_width in zip(means, half_widths, strict=True)
    ]
    return [[below for below, _ in lengths], [above for _, above in lengths]]


def draw_mean_accuracies(
    axes: Axes, runs: pd.DataFrame, x: str, split: str, *, label: str, colour: str, marker: str
) -> None:
    """Draw the mean student accuracy in % with its 95 % interval, for each value of the column `x`."""
    accuracies = runs[x].to_frame("place").assign(accuracy=100 * runs[f"student_{split}_accuracy"].astype(float))
    smallest_step = 100 * resolution(runs, split)
    summary = [(place, *interval(group["accuracy"], smallest_step)) for place, group in accuracies.groupby("place")]
    places, means, half_widths = zip(*summary, strict=True)
    axes.errorbar(
        places, means, yerr=error_bars(means, half_widths), marker=marker, color=colour, linewidth=1.2, capsize=2,
        markersize=5, label=label,
    )  # fmt: skip
