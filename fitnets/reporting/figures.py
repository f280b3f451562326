"""Figures for papers and READMEs, from the tables of `runs`, `tradeoff` and `studies`.

Each function gives a matplotlib figure of its own. Colours are those of Okabe and Ito (2008), which colour-blind
readers can tell apart, and every method has a marker of its own as well, for print without colours."""

import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fitnets.console import quantities
from fitnets.errors import NotEnoughError
from fitnets.reporting import paper, runs, studies, tradeoff
from fitnets.reporting.studies import Study
from fitnets.reporting.tradeoff import COSTS
from fitnets.reporting.verdicts import bounds, interval, resolution

STYLES = {  # colour and marker
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
INK, MUTED, GRID = "#222222", "#666666", "#DDDDDD"
_WIDTH, _HEIGHT = 6.4, 4.2  # inches
_SPLITS = {"valid": "validation", "test": "test"}


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's defaults inside: a user's matplotlibrc or style makes no other figure."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def _axes(figure: Figure, place: tuple[int, int, int] = (1, 1, 1), **labels: str) -> Axes:
    """place: rows, columns, number from 1."""
    axes: Axes = figure.add_subplot(*place)
    axes.set(**labels)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _text(name: object) -> str:
    """A name as it is: dollars are no mathematics."""
    return str(name).replace("$", r"\$")


def _figure(width: float = _WIDTH, height: float = _HEIGHT) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def _logarithmic(axes: Axes) -> None:
    """1, 2 and 5 of every power of ten, as 200 k, 500 k, 1 M."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantities.number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


# --- accuracy against cost ---


@default_style()
def trade_off(frame: pd.DataFrame, cost: str = "multiplications", split: str = "valid") -> Figure:
    """Accuracy against a cost of COSTS, for the runs of one task: a point for each configuration with its 95 % interval
    over seeds, the front (of latencies one for each device), the teachers, and, where costs are counted as in the
    paper, its points, hollow. ValueError for several tasks, NotEnough for no runs. frame: of `runs.load`."""
    found = tradeoff.points(frame).dropna(subset=[f"{split}_accuracy", cost])
    if found.empty:
        raise NotEnoughError(f"no finished run has an accuracy on {_SPLITS[split]} and {COSTS[cost].label}")
    if found["task"].nunique() > 1:
        raise ValueError(f"runs of {', '.join(found['task'].unique())}: their accuracies cannot be compared: give one")
    name = _SPLITS[split]
    figure = _figure()
    title = _titled(frame, "accuracy and cost")
    axes = _axes(figure, xlabel=COSTS[cost].label, ylabel=f"{name} accuracy, %", title=title)
    for method, (colour, marker) in STYLES.items():
        _draw_points(axes, found[found["method"] == method], cost, split, label=method, colour=colour, marker=marker)
    members = found[tradeoff.fronts(found, cost)].sort_values(cost)
    for device, own in members.groupby("device" if tradeoff.is_latency(cost) else "task"):
        where = f" on {_text(device)}" if tradeoff.is_latency(cost) else ""
        axes.step(
            own[cost].astype(float), 100 * own[f"{split}_accuracy"], where="post", color=INK, linewidth=1, zorder=1,
            label=f"front, chosen on validation{where}",
        )  # fmt: skip
    for _, teacher in tradeoff.teachers(frame).dropna(subset=[f"{split}_accuracy", cost]).iterrows():
        axes.axhline(100 * teacher[f"{split}_accuracy"], color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
        label = f"teacher {_text(teacher['name'])}, {_text(teacher['schedule'])}"
        label += ", no better than one class" if teacher["at_chance"] else ""
        _draw_points(axes, teacher.to_frame().T, cost, split, label=label, colour=INK, marker="*")
    _draw_paper(axes, frame, cost)
    _logarithmic(axes)
    axes.legend(fontsize=7, frameon=False)
    return figure


def _draw_points(
    axes: Axes, points: pd.DataFrame, cost: str, split: str, *, label: str, colour: str, marker: str
) -> None:
    if points.empty:
        return
    means = 100 * points[f"{split}_accuracy"].astype(float)
    axes.errorbar(
        points[cost].astype(float), means, yerr=_bars(means, 100 * points[f"{split}_half_width"]), fmt=marker,
        color=colour, markersize=11 if marker == "*" else 5, elinewidth=0.8, capsize=2, label=label,
    )  # fmt: skip


def _bars(means: Iterable[Any], half_widths: Iterable[Any]) -> list[list[float]]:
    """How far the error bars of accuracies in % reach below and above their means: within 0 and 100 %."""
    ends = [
        (0.0, 0.0) if pd.isna(half_width) else tuple(abs(end - mean) for end in bounds(float(mean), float(half_width)))
        for mean, half_width in zip(means, half_widths, strict=True)
    ]
    return [[below for below, _ in ends], [above for _, above in ends]]


def _draw_paper(axes: Axes, frame: pd.DataFrame, cost: str) -> None:
    for dataset in frame["dataset"].dropna().unique():
        published = paper.beside(dataset, cost)
        for method, chosen in published.groupby("method"):
            colour, marker = STYLES.get(str(method), (INK, "*"))
            axes.plot(
                chosen[cost].astype(float), chosen["accuracy"], marker,
                color="none", markeredgecolor=colour, markersize=8, label=f"paper, {method} (test)",
            )  # fmt: skip


def _titled(frame: pd.DataFrame, what: str) -> str:
    names = sorted(tradeoff.task_names(tradeoff.finished(frame)).unique())
    return f"{_text(', '.join(names))}: {what}"


# --- depth, hint layer ---

_SAME_BUDGET = 1.2
"""costs up to so many times the smallest are one budget: 1.11 among the nets of Table 6, 1.18 among them on digits"""


def budgets(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The finished runs whose students cost about the same and differ in depth, cheapest first: a group for each budget
    with three depths or more and two methods or more, one configuration of each."""
    done = tradeoff.finished(frame).dropna(subset=["student_paper_multiplications", "student_layers"])
    costs = done["student_paper_multiplications"].astype(float)
    bound, lowest = 0.0, {}
    for cost in sorted(costs.unique()):
        if cost > bound:
            cheapest, bound = cost, _SAME_BUDGET * cost
        lowest[cost] = cheapest
    groups = [group for _, group in done.groupby([costs.map(lowest), "student", "schedule"])]
    return [group for group in groups if _is_depth_study(group)]


def _is_depth_study(group: pd.DataFrame) -> bool:
    places = group.groupby(["method", "student_layers"])[["setting_hash", "method_hash"]]
    is_depth_alone = places.nunique().max().max() == 1
    return bool(is_depth_alone and group["student_layers"].nunique() > 2 and group["method"].nunique() > 1)


def budget_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of each budget of `budgets`, with layers, cost and accuracy. NotEnough where there is none."""
    found = budgets(frame)
    if not found:
        raise NotEnoughError(_NO_DEPTHS)
    columns = ["method", "student", "student_layers", "student_paper_multiplications", "student_valid_accuracy"]
    return pd.concat([group[columns] for group in found], keys=range(len(found)), names=["budget"])


_NO_DEPTHS = "no three depths at about the same cost: run `fitnets run -m +sweeps=figure2`"


@default_style()
def depth(frame: pd.DataFrame, split: str = "valid", note: str = "") -> Figure:
    """Accuracy by depth for each method at a fixed budget, a panel for each budget (Figure 2 of the paper). NotEnough
    where there is no such budget. frame: of `runs.load`, of one task; note: into the titles."""
    panels = budgets(frame)
    if not panels:
        raise NotEnoughError(_NO_DEPTHS)
    figure = _figure(max(_WIDTH, 3.6 * len(panels)))
    for number, group in enumerate(panels, start=1):
        cost = quantities.number(float(group["student_paper_multiplications"].astype(float).median()))
        axes = _axes(
            figure, (1, len(panels), number),
            xlabel="layers of the student (count)", ylabel=f"{_SPLITS[split]} accuracy, %",
            title=_titled(group, f"students of about {cost} multiplications" + (f"\n({note})" if note else "")),
        )  # fmt: skip
        _lines(axes, group, "student_layers", split)
        axes.set_xticks(sorted(int(layers) for layers in group["student_layers"].unique()))
        axes.legend(fontsize=7, frameon=False)
    return figure


@default_style()
def hint_layers(frame: pd.DataFrame) -> Figure:
    """Accuracy by guided layer, a line for each hint layer and setting: which layer should be guided? NotEnough where
    no setting has two that differ in the guided layer alone. frame: of `runs.load`, of one task."""
    hints = tradeoff.finished(frame).dropna(subset=["guided_layer", "hint_layer"])
    hints = hints[hints["method"] == "hints"].assign(student=runs.students)
    studies = [group for _, group in hints.groupby(["setting_hash", "hint_layer"], sort=False) if _is_hint_study(group)]
    if not studies:
        raise NotEnoughError("no two guided layers of one student: run `fitnets run -m +sweeps=hint_depth`")
    order = sorted(pd.concat(studies)["guided_layer"].unique(), key=_natural)
    figure = _figure()
    axes = _axes(
        figure, xlabel="guided layer of the student", ylabel="validation accuracy, %",
        title=_titled(hints, "which layer should be guided?"),
    )  # fmt: skip
    for group, (colour, marker) in zip(studies, itertools.cycle(STYLES.values()), strict=False):
        places = group.assign(place=group["guided_layer"].map(order.index))
        first = group.iloc[0]
        label = _text(f"{first['student']}, {first['schedule']}, hint layer {first['hint_layer']}")
        _line(axes, places, "place", "valid", label=label, colour=colour, marker=marker)
    axes.set_xticks(range(len(order)), order, rotation=45 if len(order) > 8 else 0)
    axes.legend(fontsize=7, frameon=False)
    return figure


def _is_hint_study(group: pd.DataFrame) -> bool:
    variants = group.groupby("guided_layer")["method_hash"].nunique()
    return bool(len(variants) > 1 and variants.max() == 1)


def _natural(name: str) -> tuple[str, int]:
    digits = "".join(letter for letter in name if letter.isdigit())
    return name.rstrip("0123456789"), int(digits or 0)


def _lines(axes: Axes, group: pd.DataFrame, x: str, split: str = "valid") -> None:
    for method, (colour, marker) in STYLES.items():
        chosen = group[group["method"] == method]
        if len(chosen):
            _line(axes, chosen, x, split, label=method, colour=colour, marker=marker)


def _line(axes: Axes, group: pd.DataFrame, x: str, split: str, *, label: str, colour: str, marker: str) -> None:
    """Means with their 95 % intervals."""
    accuracies = group[x].to_frame("place").assign(accuracy=100 * group[f"student_{split}_accuracy"].astype(float))
    least = 100 * resolution(group, split)
    summary = [(place, *interval(at["accuracy"], least)) for place, at in accuracies.groupby("place")]
    places, means, half_widths = zip(*summary, strict=True)
    axes.errorbar(
        places,
        means,
        yerr=_bars(means, half_widths),
        marker=marker,
        color=colour,
        linewidth=1.2,
        capsize=2,
        markersize=5,
        label=label,
    )


# --- one run ---

_STAGE_TITLES = {"teacher": "teacher", "hint": "stage 1: hints", "student": "stage 2: whole student"}


@default_style()
def curves(epochs: pd.DataFrame) -> Figure:
    """Learning curves of one run, a column for each stage: losses above, error on validation below, with lambda where
    there is one. NotEnough without epochs. epochs: rows of one run, of `runs.epochs`."""
    stages = list(dict.fromkeys(epochs["stage"].dropna()))
    if not stages:
        raise NotEnoughError("no epochs of this run are known")
    columns = len(stages)
    figure = _figure(max(_WIDTH, 3.2 * columns), 4.8)
    for column, stage in enumerate(stages, start=1):
        rows = epochs[epochs["stage"] == stage]
        title = _STAGE_TITLES.get(stage, stage.replace("_", " "))
        unit = "epoch of the stage"
        _draw_losses(_axes(figure, (2, columns, column), title=title, xlabel=unit), rows)
        _draw_errors(_axes(figure, (2, columns, columns + column), xlabel=unit), rows)
    return figure


def _draw_losses(axes: Axes, rows: pd.DataFrame) -> None:
    is_hint = _has(rows, "valid_hint_loss")
    watched = "valid_hint_loss" if is_hint else "valid_loss"
    axes.set_ylabel("hint loss, squared activations" if is_hint else "loss, nats")
    axes.plot(rows["epoch"] + 1, rows["train_loss"], color="#0072B2", linewidth=1.2, label="training")
    if _has(rows, watched):
        axes.plot(rows["epoch"] + 1, rows[watched], color="#D55E00", linestyle="--", linewidth=1.2, label="validation")
    if (rows["train_loss"] > 0).all():
        axes.set_yscale("log")
    axes.legend(fontsize=7, frameon=False)


def _draw_errors(axes: Axes, rows: pd.DataFrame) -> None:
    if not _has(rows, "valid_error"):  # stage 1 watches its own loss
        axes.set_axis_off()
        return
    axes.set_ylabel("validation error, %")
    axes.plot(rows["epoch"] + 1, 100 * rows["valid_error"], color=INK, linewidth=1.2)
    selected = rows[rows["best"].astype(bool)].iloc[-1:]
    axes.plot(selected["epoch"] + 1, 100 * selected["valid_error"], "o", color=INK, markersize=5, label="selected")
    axes.legend(fontsize=7, frameon=False)
    if _has(rows, "kd_weight"):
        right = axes.twinx()
        right.plot(rows["epoch"] + 1, rows["kd_weight"], color="#CC79A7", linestyle=":", linewidth=1.5)
        right.set_ylabel("lambda, weight of the teacher", color="#A04C7C")
        right.set_ylim(bottom=0)


def _has(rows: pd.DataFrame, column: str) -> bool:
    return column in rows and bool(rows[column].notna().any())


@default_style()
def similarity(frame: pd.DataFrame) -> Figure:
    """Did the hint help? Similarity of guided and hint layer before and after each stage, a line for each method, with
    95 % intervals over the runs. NotEnough where that is not known. frame: of `runs.load`, runs of one setting."""
    moments = {"initial": "initialisation", "after_hint": "stage 1", "after_student": "stage 2"}
    done = tradeoff.finished(frame)
    if done[[f"similarity_{moment}" for moment in moments]].isna().all(axis=None):
        raise NotEnoughError("no finished run tells how similar its guided layer is to the hint layer")
    figure = _figure()
    axes = _axes(
        figure, xlabel="after", ylabel="similarity of guided and hint layer (CKA)",
        title=_text(f"{runs.students(done).iloc[0]}: what the guided layer learnt"),
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
        axes.legend(fontsize=7, frameon=False)
    return figure


# --- studies ---


@default_style()
def study_progress(study: Study) -> Figure:
    """What a study has reached after each finished trial: the best value, or the hypervolume of its front."""
    reached = studies.progress(study)
    single = len(study.objectives) == 1
    share = single and next(iter(study.objectives)) in ("accuracy", "error", "agreement", "calibration_error")
    label = (
        next(iter(study.objectives)) + (", %" if share else "") if single else "hypervolume, share of the unit square"
    )
    figure = _figure()
    axes = _axes(figure, xlabel="finished trials (count)", ylabel=label, title=_text(f"study {study.name}"))
    factor = 100 if share else 1
    counts = range(1, len(reached) + 1)
    if single:
        values = study.finished()[next(iter(study.objectives))].astype(float)
        axes.plot(counts, factor * values, "o", color="#56B4E9", markersize=4, label="trial")
    axes.step(
        counts, factor * reached.astype(float), where="post", color="#0072B2", linewidth=1.5, label="reached so far"
    )
    axes.legend(fontsize=7, frameon=False)
    return figure


@default_style()
def importance(study: Study) -> Figure:
    """How much each parameter matters for each objective. NotEnough where it is not known: too few trials."""
    if not study.importances:
        raise NotEnoughError(f"study {study.name}: too few finished trials to tell what matters")
    names = sorted({name for shares in study.importances.values() for name in shares})
    figure = _figure(height=1.4 + 0.5 * len(names) * len(study.importances))
    axes = _axes(
        figure, xlabel="importance (PED-ANOVA), %", title=_text(f"study {study.name}: what matters for good trials")
    )
    thickness = 0.8 / len(study.importances)
    for number, (objective, shares) in enumerate(study.importances.items()):
        places = [index + thickness * number for index in range(len(names))]
        colour = list(STYLES.values())[number][0]
        axes.barh(places, [100 * shares.get(name, 0) for name in names], thickness, color=colour, label=objective)
    axes.set_yticks([index + 0.4 - thickness / 2 for index in range(len(names))], [_text(name) for name in names])
    axes.legend(fontsize=7, frameon=False)
    return figure


def of_store(frame: pd.DataFrame, found: Iterable[Study]) -> dict[str, Figure]:
    """All figures that a store has the runs for, by file name. frame: of `runs.load`."""
    done = tradeoff.finished(frame).assign(task=tradeoff.task_names)
    figures = {}
    for task, own in done.groupby("task"):
        stem = _file_name(str(task))
        costs = ["multiplications", "parameters", "latency_ms"]
        costs += [cost for cost in COSTS if len(paper.beside(own["dataset"].iloc[0], cost))]
        for cost in costs:
            figures[f"trade_off-{stem}-{cost}"] = trade_off(own, cost)
        for name, draw in (("depth", depth), ("hint_layers", hint_layers)):
            try:
                figures[f"{name}-{stem}"] = draw(own)
            except NotEnoughError:
                continue
        several = own[own.groupby("setting_hash")["method"].transform("nunique") > 1]
        several = several.dropna(subset=["similarity_after_student"])
        if len(several):
            largest = several["setting_hash"].value_counts().index[0]
            figures[f"similarity-{stem}"] = similarity(several[several["setting_hash"] == largest])
    for study in found:
        if len(study.objectives) in (1, 2) and len(study.finished()) > 1:
            figures[f"progress-{_file_name(study.name)}"] = study_progress(study)
        if any(len(shares) > 1 for shares in study.importances.values()):
            figures[f"importance-{_file_name(study.name)}"] = importance(study)
    return figures


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
