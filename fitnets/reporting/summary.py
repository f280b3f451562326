"""The sentences of the page: headlines, verdicts and studies."""

from typing import Any

import pandas as pd

from fitnets.console.quantities import plural
from fitnets.reporting import studies, tradeoff
from fitnets.reporting.studies import Study
from fitnets.reporting.verdicts import Comparison

_CLOSE = 0.01
"""A student is close to its teacher if its accuracy, a fraction, is at most this much lower."""
_ROUNDING = 1e-9
"""Tolerance for fractions that should be equal. It is less than the share of one image in any data set."""


def headlines(frame: pd.DataFrame) -> list[str]:
    """Name, for each teacher, the cheapest student within 1 point of it, and state how certain that is.

    Networks that are no better than always naming one class are named as such and are not compared.

    frame: rows of `runs.load`
    """
    points = tradeoff.points(frame).dropna(subset=["valid_accuracy", "multiplications"])
    lines = []
    for teacher in tradeoff.teachers(frame).dropna(subset=["valid_accuracy"]).to_dict("records"):
        is_student = (points["task"] == teacher["task"]) & (
            points["teacher_setting_hash"] == teacher["teacher_setting_hash"]
        )
        name = f"{teacher['task']}: teacher {teacher['name']} ({100 * teacher['valid_accuracy']:.2f} % on validation)"
        if teacher["at_chance"]:
            lines.append(f"{name} is no better than always naming one class: no student is compared with it.")
            continue
        cheaper = points[is_student & (points["multiplications"] < teacher["multiplications"])]
        if len(cheaper) and cheaper["at_chance"].all():
            lines.append(f"{name}: none of its cheaper students is better than always naming one class.")
        sound = cheaper[~cheaper["at_chance"].astype(bool)]
        close = sound[sound["valid_accuracy"] >= teacher["valid_accuracy"] - _CLOSE - _ROUNDING]
        if len(close):
            lines.append(_headline(teacher, close.sort_values("multiplications").iloc[0], len(sound)))
        elif len(sound):
            best = sound["valid_accuracy"].max()
            lines.append(
                f"{teacher['task']}: no cheaper student is within 1 point of teacher {teacher['name']} "
                f"({100 * teacher['valid_accuracy']:.2f} % on validation); the best has {100 * best:.2f} %."
            )
    return lines


def _headline(teacher: dict[Any, Any], point: pd.Series, candidates: int) -> str:
    fewer, smaller = (teacher[cost] / point[cost] for cost in ("multiplications", "parameters"))
    size = f"{smaller:.1f} x fewer" if smaller >= 1 else f"{1 / smaller:.1f} x more"
    test = "" if pd.isna(point["test_accuracy"]) else f", {100 * point['test_accuracy']:.2f} % on test"
    certainty = "one run, no interval" if point["count"] == 1 else repetitions(point)
    if candidates > 1:
        certainty += f"; chosen among {candidates} on the same validation images, so this accuracy is slightly too high"
    return (
        f"{teacher['task']}: the cheapest student within 1 point of teacher {teacher['name']} is {point['label']} "
        f"({point['method']}): {100 * point['valid_accuracy']:.2f} % on validation against "
        f"{100 * teacher['valid_accuracy']:.2f} %{test}, with {fewer:.1f} x fewer multiplications and {size} "
        f"parameters ({certainty})."
    )


def repetitions(point: Any) -> str:
    """'5 seeds', or '6 runs of 3 seeds'. point: a row of `tradeoff.points`."""
    seeds = plural(point["seeds"], "seed")
    return seeds if point["seeds"] == point["count"] else f"{plural(point['count'], 'run')} of {seeds}"


def verdicts_by_setting(comparisons: list[Comparison]) -> list[tuple[str, list[dict[str, str | None]]]]:
    """The name of each setting with its comparisons as `word`, `text` and `test`.

    The setting with the most seeds comes first. Where several settings have the same name, the later ones also show
    the start of their hash.
    """
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault(comparison.setting_hash, []).append(comparison)
    most_seeds = {
        setting: max(comparison.valid.seeds if comparison.valid else 0 for comparison in group)
        for setting, group in groups.items()
    }
    names: list[str] = []
    entries = []
    for setting in sorted(groups, key=lambda setting: -most_seeds[setting]):
        name = "{dataset}: teacher {teacher}, student {student}, schedule {schedule}".format(
            **groups[setting][0].setting
        )
        names.append(name)
        suffix = f" (another setting, {setting[:8]})" if names.count(name) > 1 else ""
        entries.append((name + suffix, [_in_words(comparison) for comparison in groups[setting]]))
    return entries


def _in_words(comparison: Comparison) -> dict[str, str | None]:
    name = f"{comparison.first} against {comparison.second}"
    verdict = comparison.valid
    if verdict is None:
        return {"word": "NO VERDICT", "text": f"{name}: {comparison.refusal}.", "test": None}
    parts = [
        f"{name}: {verdict.numbers}",
        f"{plural(comparison.epochs, 'epoch')} each" if comparison.epochs else None,
        comparison.at_chance,
        comparison.left_out,
    ]
    test = None if comparison.test is None else str(comparison.test)
    return {"word": verdict.word, "text": "; ".join(filter(None, parts)) + ".", "test": test}


def study_line(study: Study) -> str:
    """A study's objectives and how many of its trials have which status, or why it cannot be read."""
    if study.error is not None:
        return f"{study.name}: cannot be read: {study.error}"
    counts = ", ".join(f"{count} {status}" for status, count in study.trials["status"].value_counts().items())
    objectives = " and ".join(f"{direction} {name}" for name, direction in study.objectives.items())
    too_few = f"; too few to tell which parameter matters (from {studies.ENOUGH_TRIALS} on)"
    return (
        f"{study.name}: {objectives}; {plural(len(study.trials), 'trial')}: {counts}"
        f"{'' if study.importances else too_few}"
    )
