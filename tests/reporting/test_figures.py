"""Figures show the computed numbers, every axis has a unit, and colours can be distinguished."""

import dataclasses
import io
import itertools

import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fitnets.errors import NotEnoughError
from fitnets.reporting import runs, studies
from fitnets.reporting.figures import gallery
from fitnets.reporting.figures.depth import depth, hint_layers
from fitnets.reporting.figures.studies import importance
from fitnets.reporting.figures.style import STYLES
from fitnets.reporting.figures.trade_off import trade_off
from fitnets.reporting.figures.training import curves
from fitnets.reporting.verdicts import METHODS
from support import made_store as made


@pytest.fixture(scope="module")
def frame(made_store):
    return runs.load(made_store)


@pytest.fixture(scope="module")
def drawn(made_store, frame):
    return gallery.draw_all(frame, studies.load(made_store, with_importances=True))


def lines(figure: Figure, axes: int = 0) -> dict[str, list[tuple[float, float]]]:
    """The points of each labelled series."""
    handles, labels = figure.axes[axes].get_legend_handles_labels()
    series = {}
    for handle, label in zip(handles, labels, strict=True):
        line = handle[0] if isinstance(handle, tuple) else handle
        series[label] = list(
            zip(*([round(float(one), 9) for one in values] for values in line.get_data()), strict=True)
        )
    return series


def test_a_store_gets_every_figure_that_it_has_runs_for(drawn):
    trade_offs = {
        f"trade_off-{task}-{cost}"
        for task in ("digits", "cifar10")
        for cost in ("multiplications", "parameters", "latency_ms")
    }
    papers = {f"trade_off-cifar10-paper_{cost}" for cost in ("multiplications", "parameters")}
    others = papers | {"depth-cifar10", "hint_layers-cifar10", "similarity-digits", "progress-sizes"}
    assert set(drawn) == trade_offs | others


@pytest.mark.parametrize(
    "name",
    [
        "trade_off-digits-latency_ms",
        "depth-cifar10",
        "hint_layers-cifar10",
        "similarity-digits",
        "progress-sizes",
    ],
)
def test_axes_have_titles_and_units_and_figures_can_be_saved(drawn, name):
    for axes in drawn[name].axes:
        assert axes.get_title()
        labels = axes.get_xlabel() + axes.get_ylabel()
        assert any(unit in labels for unit in ("%", "ms", "count", "share", "CKA"))
    file = io.BytesIO()
    drawn[name].savefig(file, format="svg")
    assert file.getvalue().startswith(b"<?xml")


def test_the_trade_off_shows_points_front_teacher_and_paper(drawn):
    digits = lines(drawn["trade_off-digits-multiplications"])
    front = [(multiplications, accuracy) for accuracy, multiplications in (made.THIN[member] for member in made.FRONT)]
    assert digits["front, chosen on validation"] == front
    assert digits["teacher big, quick"] == [(3e6, 99.0)]
    assert sorted(digits["kd"]) == [(600_000.0, 96.18)]
    cifar10 = lines(drawn["trade_off-cifar10-paper_multiplications"])
    assert (30e6, 89.01) in cifar10["paper, hints (test)"]
    assert cifar10["paper, teacher (test)"] == [(725e6, 90.18)]


def test_the_trade_off_refuses_several_tasks(frame):
    with pytest.raises(ValueError, match="cannot be compared"):
        trade_off(frame)


def test_the_title_names_a_second_split(tmp_path):
    made.write_run(tmp_path, "a1")
    made.write_run(tmp_path, "b1", images={"train": 1237, "valid": 200, "test": 3000}, hashes=made.hashes("s1"))
    drawn = gallery.draw_all(runs.load(tmp_path), [])
    assert (
        drawn["trade_off-digits_split_2_-multiplications"].axes[0].get_title() == "digits (split 2): accuracy and cost"
    )


def test_importance_needs_enough_trials(made_store):
    study = studies.load(made_store)[0]
    shares = {"accuracy": {"student.width": 0.9, "student.depth": 0.1}}
    figure = importance(dataclasses.replace(study, importances=shares))
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([10, 90])
    with pytest.raises(NotEnoughError, match="too few finished trials"):
        importance(study)


def test_depth_shows_accuracy_by_layers_for_each_method(drawn):
    series = lines(drawn["depth-cifar10"])
    for method in ("backprop", "kd", "hints"):
        expected = [(float(layers), accuracies[method]) for layers, (_, accuracies) in made.DEPTHS.items()]
        assert series[method] == expected
    assert "29.3 M multiplications" in drawn["depth-cifar10"].axes[0].get_title()


def test_students_of_different_costs_are_not_a_depth_study(frame):
    with pytest.raises(NotEnoughError, match=r"no three depths .*\+sweeps=figure2"):
        depth(frame[frame["dataset"] == "digits"])


def test_guided_layers_are_in_network_order(drawn):
    (series,) = lines(drawn["hint_layers-cifar10"]).values()
    assert [accuracy for _, accuracy in series] == pytest.approx([88.0, 91.0, 90.0])
    assert [text.get_text() for text in drawn["hint_layers-cifar10"].axes[0].get_xticklabels()] == [
        "conv7",
        "conv10",
        "conv13",
    ]


def test_hint_layers_needs_two_guided_layers(frame):
    with pytest.raises(NotEnoughError, match=r"no two guided layers .*\+sweeps=hint_depth"):
        hint_layers(frame[frame["dataset"] == "digits"])


def test_similarity_is_shown_before_and_after_each_stage(drawn):
    series = lines(drawn["similarity-digits"])
    assert series["hints"] == [(0.0, 0.5), (1.0, 0.9), (2.0, 0.8)]
    assert series["kd"] == [(0.0, 0.5), (2.0, 0.8)]


def test_curves_show_both_stages_and_lambda(made_store):
    epochs = runs.epochs(made_store)
    figure = curves(epochs[epochs["run"] == "hints0"])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["stage 1: hints", "stage 2: whole student"]
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels.count("loss of stage 1") == labels.count("loss, nats") == 1
    (weight,) = (axes for axes in figure.axes if axes.get_ylabel().startswith("lambda"))
    assert list(weight.get_lines()[0].get_ydata()) == [4.0, 3.25, 2.5, 1.75]


def test_curves_have_one_column_for_each_of_six_stages():
    stages = ["teacher", "retrain_teacher", "hint", "student", "retrain_hint", "retrain_student"]
    rows = [{"stage": stage, "epoch": 0, "train_loss": 1.0, "valid_loss": 2.0, "valid_error": 0.5, "best": True}
            for stage in stages]  # fmt: skip
    figure = curves(pd.DataFrame(rows))
    titles = [axes.get_title() for axes in figure.axes[::2]]
    assert titles == [
        "teacher", "retrain teacher", "stage 1: hints", "stage 2: whole student", "retrain hint", "retrain student",
    ]  # fmt: skip
    places = [axes.get_subplotspec().num1 for axes in figure.axes]
    assert places == [place for column in range(6) for place in (column, 6 + column)]


@pytest.mark.parametrize("name", ["depth", "hint_layers"])
def test_an_error_in_a_figure_is_not_taken_for_missing_runs(frame, monkeypatch, name):
    def broken(_frame):
        raise ValueError("zip() argument 2 is longer than argument 1")

    monkeypatch.setattr(gallery, name, broken)
    with pytest.raises(ValueError, match="zip"):
        gallery.draw_all(frame, [])


def test_every_method_has_its_own_colour_and_marker():
    assert set(STYLES) == set(METHODS)
    colours, markers = zip(*STYLES.values(), strict=True)
    assert len(set(markers)) == len(markers)
    for first, second in itertools.combinations(
        colours[:3], 2
    ):  # the paper's methods are also distinct to a colour-blind reader
        assert distance(seen_without_red_and_green(first), seen_without_red_and_green(second)) > 0.2


def seen_without_red_and_green(colour: str) -> tuple[float, ...]:
    """The colour roughly as a deuteranope sees it (Vienot et al., 1999): red and green are one channel."""
    red, green, blue = to_rgb(colour)
    return (0.29 * red + 0.71 * green, 0.29 * red + 0.71 * green, blue)


def distance(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    return sum((one - other) ** 2 for one, other in zip(first, second, strict=True)) ** 0.5
