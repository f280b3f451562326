"""Studies: what they reached, and which parameter matters."""

from matplotlib.figure import Figure

from fitnets.errors import NotEnoughError
from fitnets.reporting import studies
from fitnets.reporting.figures.style import STYLES, add_axes, add_legend, default_style, literal, new_figure
from fitnets.reporting.studies import Study

_FRACTIONS = ("accuracy", "error", "agreement", "calibration_error")
"""Objectives that are stored as fractions and drawn in %."""


@default_style()
def study_progress(study: Study) -> Figure:
    """Draw the best value, or the hypervolume of the front, after each finished trial.

    Raises NotEnoughError as `studies.progress` does.
    """
    reached = studies.progress(study)
    figure = new_figure()
    axes = add_axes(figure, xlabel="finished trials (count)", title=literal(f"study {study.name}"))
    counts = range(1, len(reached) + 1)
    factor = 1
    if len(study.objectives) == 1:
        (objective,) = study.objectives
        is_fraction = objective in _FRACTIONS
        factor = 100 if is_fraction else 1
        axes.set_ylabel(objective + (", %" if is_fraction else ""))
        values = study.finished()[objective].astype(float)
        axes.plot(counts, factor * values, "o", color="#56B4E9", markersize=4, label="trial")
    else:
        axes.set_ylabel("hypervolume, share of the unit square")
    axes.step(
        counts, factor * reached.astype(float), where="post", color="#0072B2", linewidth=1.5, label="reached so far"
    )
    add_legend(axes)
    return figure


@default_style()
def importance(study: Study) -> Figure:
    """Draw how much each parameter matters for each objective, in %.

    Raises NotEnoughError if the study has too few finished trials.
    """
    if not study.importances:
        raise NotEnoughError(f"study {study.name}: too few finished trials to tell which parameter matters")
    names = sorted({name for shares in study.importances.values() for name in shares})
    figure = new_figure(height=1.4 + 0.5 * len(names) * len(study.importances))
    axes = add_axes(
        figure, xlabel="importance (PED-ANOVA), %", title=literal(f"study {study.name}: what matters for good trials")
    )
    thickness = 0.8 / len(study.importances)
    for number, (objective, shares) in enumerate(study.importances.items()):
        places = [index + thickness * number for index in range(len(names))]
        colour = list(STYLES.values())[number][0]
        axes.barh(places, [100 * shares.get(name, 0) for name in names], thickness, color=colour, label=objective)
    axes.set_yticks([index + 0.4 - thickness / 2 for index in range(len(names))], [literal(name) for name in names])
    add_legend(axes)
    return figure
