"""Accuracy against cost."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fitnets.console import quantities
from fitnets.errors import NotEnoughError
from fitnets.reporting import paper, tradeoff
from fitnets.reporting.figures.style import (
    INK,
    MUTED,
    SPLIT_NAMES,
    STYLES,
    add_axes,
    add_legend,
    default_style,
    error_bars,
    literal,
    new_figure,
    titled,
)
from fitnets.reporting.tradeoff import COSTS


@default_style()
def trade_off(frame: pd.DataFrame, cost: str = "multiplications", split: str = "valid") -> Figure:
    """Draw accuracy against a cost, for the runs of one task.

    Each configuration is a point with its 95 % interval over seeds. The front is a line; a latency has one front for
    each device. Teachers are stars. The paper's results are hollow points, where the cost is counted as in the paper.

    frame: rows of `runs.load`, of one task
    cost: a key of COSTS
    split: valid or test

    Raises ValueError if the runs are of several tasks, and NotEnoughError if no finished run has both numbers.
    """
    points = tradeoff.points(frame).dropna(subset=[f"{split}_accuracy", cost])
    name = SPLIT_NAMES[split]
    if points.empty:
        raise NotEnoughError(f"no finished run has an accuracy on {name} and {COSTS[cost].label}")
    if points["task"].nunique() > 1:
        tasks = ", ".join(points["task"].unique())
        raise ValueError(f"the runs are of the tasks {tasks}: their accuracies cannot be compared: choose one task")
    figure = new_figure()
    title = titled(frame, "accuracy and cost")
    axes = add_axes(figure, xlabel=COSTS[cost].label, ylabel=f"{name} accuracy, %", title=title)
    for method, (colour, marker) in STYLES.items():
        _draw_points(axes, points[points["method"] == method], cost, split, label=method, colour=colour, marker=marker)
    _draw_fronts(axes, points, cost, split)
    _draw_teachers(axes, tradeoff.teachers(frame).dropna(subset=[f"{split}_accuracy", cost]), cost, split)
    _draw_paper(axes, frame, cost)
    _make_x_logarithmic(axes)
    add_legend(axes)
    return figure


def _draw_points(
    axes: Axes, points: pd.DataFrame, cost: str, split: str, *, label: str, colour: str, marker: str
) -> None:
    if points.empty:
        return
    means = 100 * points[f"{split}_accuracy"].astype(float)
    axes.errorbar(
        points[cost].astype(float), means, yerr=error_bars(means, 100 * points[f"{split}_half_width"]), fmt=marker,
        color=colour, markersize=11 if marker == "*" else 5, elinewidth=0.8, capsize=2, label=label,
    )  # fmt: skip


def _draw_fronts(axes: Axes, points: pd.DataFrame, cost: str, split: str) -> None:
    members = points[tradeoff.fronts(points, cost)].sort_values(cost)
    for device, front in members.groupby("device" if tradeoff.is_latency(cost) else "task"):
        suffix = f" on {literal(device)}" if tradeoff.is_latency(cost) else ""
        axes.step(
            front[cost].astype(float), 100 * front[f"{split}_accuracy"], where="post", color=INK, linewidth=1,
            zorder=1, label=f"front, chosen on validation{suffix}",
        )  # fmt: skip


def _draw_teachers(axes: Axes, teachers: pd.DataFrame, cost: str, split: str) -> None:
    for _, teacher in teachers.iterrows():
        axes.axhline(100 * teacher[f"{split}_accuracy"], color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
        label = f"teacher {literal(teacher['name'])}, {literal(teacher['schedule'])}"
        label += ", no better than one class" if teacher["at_chance"] else ""
        _draw_points(axes, teacher.to_frame().T, cost, split, label=label, colour=INK, marker="*")


def _draw_paper(axes: Axes, frame: pd.DataFrame, cost: str) -> None:
    for dataset in frame["dataset"].dropna().unique():
        for method, points in paper.points(dataset, cost).groupby("method"):
            colour, marker = STYLES.get(str(method), (INK, "*"))
            axes.plot(
                points[cost].astype(float), points["accuracy"], marker,
                color="none", markeredgecolor=colour, markersize=8, label=f"paper, {method} (test)",
            )  # fmt: skip


def _make_x_logarithmic(axes: Axes) -> None:
    """Label 1, 2 and 5 of every power of ten: 200 k, 500 k, 1 M."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantities.number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
