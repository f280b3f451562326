"""Accuracy by the student's depth and by the guided layer."""

import itertools

import pandas as pd
from matplotlib.figure import Figure

from fitnets.console import quantities
from fitnets.errors import NotEnoughError
from fitnets.reporting import runs, tradeoff
from fitnets.reporting.figures.style import (
    SPLIT_NAMES,
    STYLES,
    WIDTH,
    add_axes,
    add_legend,
    default_style,
    draw_mean_accuracies,
    literal,
    new_figure,
    titled,
)

_SAME_BUDGET = 1.2
"""Costs up to this many times the smallest one count as the same budget. The costs differ by a factor of 1.11 among the
networks of Table 6, and by 1.18 among those on digits."""
_NO_DEPTHS = "no three depths at about the same cost: run `fitnets run -m +sweeps=figure2`"


def budgets(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Group the finished runs whose students cost about the same and differ in depth, cheapest group first.

    A group has three or more depths, two or more methods, and one configuration for each depth and method.

    frame: rows of `runs.load`
    """
    done = tradeoff.finished(frame).dropna(subset=["student_paper_multiplications", "student_layers"])
    costs = done["student_paper_multiplications"].astype(float)
    limit, cheapest_of = 0.0, {}
    for cost in sorted(costs.unique()):
        if cost > limit:
            cheapest, limit = cost, _SAME_BUDGET * cost
        cheapest_of[cost] = cheapest
    groups = [group for _, group in done.groupby([costs.map(cheapest_of), "student", "schedule"])]
    return [group for group in groups if _is_depth_study(group)]


def _is_depth_study(group: pd.DataFrame) -> bool:
    places = group.groupby(["method", "student_layers"])[["setting_hash", "method_hash"]]
    differs_in_depth_alone = places.nunique().max().max() == 1
    return bool(differs_in_depth_alone and group["student_layers"].nunique() > 2 and group["method"].nunique() > 1)


def budget_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of each group of `budgets`, with layers, cost and accuracy on validation (a fraction).

    Raises NotEnoughError if there is no such group.
    """
    groups = budgets(frame)
    if not groups:
        raise NotEnoughError(_NO_DEPTHS)
    columns = ["method", "student", "student_layers", "student_paper_multiplications", "student_valid_accuracy"]
    return pd.concat([group[columns] for group in groups], keys=range(len(groups)), names=["budget"])


@default_style()
def depth(frame: pd.DataFrame, split: str = "valid", note: str = "") -> Figure:
    """Draw accuracy by depth for each method, one panel for each budget (Figure 2 of the paper).

    frame: rows of `runs.load`, of one task
    split: valid or test
    note: a second line for the titles

    Raises NotEnoughError if there is no group of `budgets`.
    """
    groups = budgets(frame)
    if not groups:
        raise NotEnoughError(_NO_DEPTHS)
    figure = new_figure(max(WIDTH, 3.6 * len(groups)))
    for number, group in enumerate(groups, start=1):
        cost = quantities.number(float(group["student_paper_multiplications"].astype(float).median()))
        axes = add_axes(
            figure, (1, len(groups), number),
            xlabel="layers of the student (count)", ylabel=f"{SPLIT_NAMES[split]} accuracy, %",
            title=titled(group, f"students of about {cost} multiplications" + (f"\n({note})" if note else "")),
        )  # fmt: skip
        for method, (colour, marker) in STYLES.items():
            chosen = group[group["method"] == method]
            if len(chosen):
                draw_mean_accuracies(axes, chosen, "student_layers", split, label=method, colour=colour, marker=marker)
        axes.set_xticks(sorted(int(layers) for layers in group["student_layers"].unique()))
        add_legend(axes)
    return figure


@default_style()
def hint_layers(frame: pd.DataFrame) -> Figure:
    """Draw accuracy on validation by guided layer, one line for each setting and hint layer.

    frame: rows of `runs.load`, of one task

    Raises NotEnoughError if no setting has two methods that differ only in the guided layer.
    """
    hints = tradeoff.finished(frame).dropna(subset=["guided_layer", "hint_layer"])
    hints = hints[hints["method"] == "hints"].assign(student=runs.students)
    groups = [group for _, group in hints.groupby(["setting_hash", "hint_layer"], sort=False) if _is_hint_study(group)]
    if not groups:
        raise NotEnoughError("no two guided layers of one student: run `fitnets run -m +sweeps=hint_depth`")
    layers = sorted(pd.concat(groups)["guided_layer"].unique(), key=_natural_order)
    figure = new_figure()
    axes = add_axes(
        figure, xlabel="guided layer of the student", ylabel="validation accuracy, %",
        title=titled(hints, "which layer should be guided?"),
    )  # fmt: skip
    for group, (colour, marker) in zip(groups, itertools.cycle(STYLES.values()), strict=False):
        placed = group.assign(place=group["guided_layer"].map(layers.index))
        first = group.iloc[0]
        label = literal(f"{first['student']}, {first['schedule']}, hint layer {first['hint_layer']}")
        draw_mean_accuracies(axes, placed, "place", "valid", label=label, colour=colour, marker=marker)
    axes.set_xticks(range(len(layers)), layers, rotation=45 if len(layers) > 8 else 0)
    add_legend(axes)
    return figure


def _is_hint_study(group: pd.DataFrame) -> bool:
    variants = group.groupby("guided_layer")["method_hash"].nunique()
    return bool(len(variants) > 1 and variants.max() == 1)


def _natural_order(name: str) -> tuple[str, int]:
    """A sort key that puts conv7 before conv10."""
    digits = "".join(letter for letter in name if letter.isdigit())
    return name.rstrip("0123456789"), int(digits or 0)
