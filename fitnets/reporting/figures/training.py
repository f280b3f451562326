"""The course of training: learning curves of one run, and how similar the guided layer becomes to the hint layer."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fitnets.errors import NotEnoughError
from fitnets.reporting import runs, tradeoff
from fitnets.reporting.figures.style import (
    INK,
    STYLES,
    WIDTH,
    add_axes,
    add_legend,
    default_style,
    literal,
    new_figure,
)
from fitnets.reporting.intervals import interval

_STAGE_TITLES = {"teacher": "teacher", "hint": "stage 1: hints", "student": "stage 2: whole student"}


@default_style()
def curves(epochs: pd.DataFrame) -> Figure:
    """Draw the learning curves of one run, one column for each stage: losses above, error on validation below.

    The weight lambda is drawn beside the error, in the stages that have one.

    epochs: rows of `runs.epochs`, of one run

    Raises NotEnoughError if there are no epochs.
    """
    stages = list(dict.fromkeys(epochs["stage"].dropna()))
    if not stages:
        raise NotEnoughError("this run has no stored epochs")
    columns = len(stages)
    figure = new_figure(max(WIDTH, 3.2 * columns), 4.8)
    for column, stage in enumerate(stages, start=1):
        rows = epochs[epochs["stage"] == stage]
        title = _STAGE_TITLES.get(stage, stage.replace("_", " "))
        xlabel = "epoch of the stage"
        _draw_losses(add_axes(figure, (2, columns, column), title=title, xlabel=xlabel), rows)
        _draw_errors(add_axes(figure, (2, columns, columns + column), xlabel=xlabel), rows)
    for axes in figure.axes:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for line in axes.lines:
            points: Any = line.get_xydata()
            if len(points) == 1:  # a line of one epoch would be invisible
                line.set_marker("o")
    return figure


def _draw_losses(axes: Axes, rows: pd.DataFrame) -> None:
    has_hint_loss = _has_values(rows, "valid_hint_loss")
    valid_loss = "valid_hint_loss" if has_hint_loss else "valid_loss"
    axes.set_ylabel("loss of stage 1" if has_hint_loss else "loss, nats")
    axes.plot(rows["epoch"] + 1, rows["train_loss"], color="#0072B2", linewidth=1.2, label="training")
    if _has_values(rows, valid_loss):
        axes.plot(
            rows["epoch"] + 1, rows[valid_loss], color="#D55E00", linestyle="--", linewidth=1.2, label="validation"
        )
    if (rows["train_loss"] > 0).all():
        axes.set_yscale("log")
    add_legend(axes)


def _draw_errors(axes: Axes, rows: pd.DataFrame) -> None:
    if not _has_values(rows, "valid_error"):  # stage 1 selects its epoch by the hint loss
        axes.set_axis_off()
        return
    axes.set_ylabel("validation error, %")
    axes.plot(rows["epoch"] + 1, 100 * rows["valid_error"], color=INK, linewidth=1.2)
    selected = rows[rows["best"].astype(bool)].iloc[-1:]
    axes.plot(selected["epoch"] + 1, 100 * selected["valid_error"], "o", color=INK, markersize=5, label="selected")
    add_legend(axes)
    if _has_values(rows, "kd_weight"):
        right = axes.twinx()
        right.plot(rows["epoch"] + 1, rows["kd_weight"], color="#CC79A7", linestyle=":", linewidth=1.5)
        right.set_ylabel("lambda, weight of the teacher", color="#A04C7C")
        right.set_ylim(bottom=0)


def _has_values(rows: pd.DataFrame, column: str) -> bool:
    return column in rows and bool(rows[column].notna().any())


@default_style()
def similarity(frame: pd.DataFrame) -> Figure:
    """Draw the similarity (CKA) of guided and hint layer at the start and after each stage, one line for each method.

    Error bars are 95 % intervals over the runs.

    frame: rows of `runs.load`, of one setting

    Raises NotEnoughError if no finished run has a similarity.
    """
    moments = {"initial": "initialisation", "after_hint": "stage 1", "after_student": "stage 2"}
    done = tradeoff.finished(frame)
    if done[[f"similarity_{moment}" for moment in moments]].isna().all(axis=None):
        raise NotEnoughError("no finished run has the similarity of its guided layer and its hint layer")
    figure = new_figure()
    axes = add_axes(
        figure, xlabel="after", ylabel="similarity of guided and hint layer (CKA)",
        title=literal(f"{runs.students(done).iloc[0]}: what the guided layer learnt"),
    )  # fmt: skip
    for method, (colour, marker) in STYLES.items():
        of_method = done[done["method"] == method]
        summary = {
            place: interval(of_method[f"similarity_{moment}"].dropna().astype(float))
            for place, moment in enumerate(moments)
            if of_method[f"similarity_{moment}"].notna().any()
        }
        if summary:
            means, half_widths = zip(*summary.values(), strict=True)
            spread = [0.0 if pd.isna(half_width) else half_width for half_width in half_widths]
            axes.errorbar(
                list(summary), means, yerr=spread, marker=marker, color=colour, linewidth=1.2, capsize=2, label=method
            )
    axes.set_xticks(range(len(moments)), moments.values())
    if axes.has_data():
        add_legend(axes)
    return figure
