"""Verdicts: is one method better than another?

A verdict is a difference of means with its 95 % interval, and the number of further seeds that would settle it. A
verdict never compares the best of several runs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from scipy import stats

from fitnets.console.quantities import plural
from fitnets.experiment import chance
from fitnets.reporting.intervals import CONFIDENCE, resolution
from fitnets.reporting.runs import students

_MOST_SEEDS = 1000
_POWER = 0.8
"""The probability with which the suggested number of seeds settles a comparison."""
METHODS = [
    "backprop", "labels_then_labels", "labels_with_labels", "dsn", "mimic", "kd", "labels_then_kd", "labels_with_kd",
    "joint", "hints",
]  # fmt: skip
"""The paper's methods and baselines in the order of the tables: those that hints are compared with come first. Other
methods follow them, by name."""


def position(method: str) -> tuple[int, str]:
    """The place of a method in tables, whether this package knows it or not."""
    return (METHODS.index(method) if method in METHODS else len(METHODS), method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of comparing a first method with a second one."""

    word: Literal["BETTER", "WORSE", "INCONCLUSIVE"]
    difference: float
    """Mean of the first method minus mean of the second, in the metric's unit."""
    half_width: float | None
    """Half-width of the difference's 95 % interval; None with a single seed."""
    seeds: int
    """Number of seeds of the method that has fewer."""
    is_paired: bool
    """True if both methods have the same seeds."""
    more_seeds: int | None
    """Further seeds per method with which the interval would exclude 0 with a probability of 80 %, if the true mean and
    spread are those measured. None if it excludes 0 already, or would not even with 1,000 seeds."""
    error: float | None = None
    """Standard error of the difference; None with a single seed."""
    degrees: float = 0.0
    """Degrees of freedom of the t-test."""

    def __str__(self) -> str:
        return f"{self.word}, {self.numbers}"

    @property
    def numbers(self) -> str:
        """The difference in percentage points, its interval and the outlook, in words."""
        if self.half_width is None:
            return f"{self.difference:+.2f} points with a single seed: {self.outlook}"
        seeds = f"{self.seeds} seeds{', paired' if self.is_paired else ''}"
        difference = f"{self.difference:+.2f} ± {self.half_width:.2f} points (95 % interval, {seeds})"
        return "; ".join(filter(None, [difference, self.outlook]))

    @property
    def outlook(self) -> str:
        """The number of seeds that would settle the comparison; empty if it is settled."""
        if self.word != "INCONCLUSIVE":
            return ""
        if self.half_width is None:
            return "give at least two"
        if self.more_seeds is None:
            return f"not even {_MOST_SEEDS:,} seeds would settle it"
        return f"about {plural(self.more_seeds, 'more seed')} would settle it with a probability of 80 %"


def compare(first: pd.Series, second: pd.Series, *, larger_is_better: bool = True, resolution: float = 0.0) -> Verdict:
    """Compare two methods by a metric.

    A paired t-test is used if both have the same seeds, and Welch's t-test if they share none.

    first, second: the metric of each run, indexed by seed
    larger_is_better: False for errors and losses
    resolution: the smallest difference that can be measured, in the metric's unit. The standard deviation is taken to
        be at least this large, because equal differences of a few seeds are a coincidence.

    Raises ValueError if the methods share only some of their seeds, or if a seed occurs twice.
    """
    first, second = first.dropna().sort_index(), second.dropna().sort_index()
    if first.index.has_duplicates or second.index.has_duplicates:
        raise ValueError("a seed occurs twice: compare runs that differ only in method and seed")
    is_paired = first.index.equals(second.index)
    if not is_paired and len(first.index.intersection(second.index)):
        raise ValueError(f"seeds differ: {list(first.index)} and {list(second.index)}: run both with the same seeds")
    difference = float(first.mean() - second.mean())
    seeds = min(len(first), len(second))
    facts: dict[str, Any] = {"difference": difference, "seeds": seeds, "is_paired": is_paired}
    error, degrees = _standard_error(first, second, is_paired=is_paired, resolution=resolution)
    if error is None:
        return Verdict(word="INCONCLUSIVE", half_width=None, more_seeds=None, **facts)
    half_width = error * _t(degrees)
    facts |= {"error": error, "degrees": degrees}
    if abs(difference) > half_width:
        is_better = (difference > 0) == larger_is_better
        return Verdict(word="BETTER" if is_better else "WORSE", half_width=half_width, more_seeds=None, **facts)
    more = _more_seeds(difference, error, seeds, is_paired=is_paired)
    return Verdict(word="INCONCLUSIVE", half_width=half_width, more_seeds=more, **facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods in one setting, compared by accuracy in percentage points.

    A setting is everything that the runs have in common, except for method and seeds.
    """

    setting: dict[str, str]
    """Names of dataset, teacher, student and schedule."""
    setting_hash: str
    """Distinguishes settings that have the same names."""
    first: str
    second: str
    valid: Verdict | None
    """The verdict on validation, which decides; None if the comparison is refused."""
    test: Verdict | None
    """The verdict on test; None if a method was not evaluated there, or was retrained for another number of epochs."""
    refusal: str | None
    """Why there is no verdict."""
    left_out: str | None
    """The runs that are left out of the comparison."""
    epochs: int | None
    """Epochs of the student, both stages counted."""
    at_chance: str | None = None
    """A sentence about the one method that has not begun to learn; None if both have begun."""

    def __str__(self) -> str:
        name = f"{self.first} against {self.second}"
        if self.valid is None:
            return f"{name}: no verdict: {self.refusal}"
        remarks = "; ".join(filter(None, [self.at_chance, self.left_out]))
        return f"{name}: {self.valid}" + (f" ({remarks})" if remarks else "")


def comparisons(frame: pd.DataFrame) -> list[Comparison]:
    """Compare hints with every other method, and KD with backprop, in each setting that has both.

    Only runs with equal epochs and the same temperature and weight of Eq. 2 are compared. Runs that did not finish are
    named in `left_out`.

    frame: rows of `runs.load`
    """
    by_setting = _with_teacherless(frame[frame["method"].notna()]).assign(variant=variant_names)
    found = []
    for _, runs in by_setting.groupby("setting_hash", sort=False):
        if (runs["status"] == "finished").sum() < 2 or runs["method"].nunique() < 2:
            continue
        by_variant = {key: group for key, group in runs.groupby(["method", "method_hash"], sort=False)}
        variants = sorted(by_variant.values(), key=lambda group: position(group["method"].iloc[0]))
        for variant in sorted(variants, key=lambda group: -position(group["method"].iloc[0])[0]):
            found += list(_against(variant, [other for other in variants if _is_of_interest(variant, other)]))
    return found


def _with_teacherless(frame: pd.DataFrame) -> pd.DataFrame:
    """Copy each run without a teacher (teacher=none) into every setting that differs from its own only by a teacher.

    A run is not copied into a setting where the same method ran with the same seed.
    """
    without_teacher = frame[frame["teacher"].isna() & frame["student_setting_hash"].notna()]
    with_teacher = frame[frame["teacher"].notna()]
    settings = with_teacher[["setting_hash", "student_setting_hash"]].dropna().drop_duplicates()
    copies = without_teacher.drop(columns="setting_hash").merge(settings, on="student_setting_hash")
    same_run = ["setting_hash", "method", "method_hash", "seed"]
    existing = with_teacher.set_index(same_run).index
    copies = copies[~copies.set_index(same_run).index.isin(existing)]
    if copies.empty:
        return frame
    return pd.concat([frame, copies[frame.columns]], ignore_index=True)


def _is_of_interest(variant: pd.DataFrame, other: pd.DataFrame) -> bool:
    first, second = (group["method"].iloc[0] for group in (variant, other))
    return first != second and (first == "hints" or (first, second) == ("kd", "backprop"))


def variant_names(frame: pd.DataFrame) -> pd.Series:
    """The method of each run.

    The pair of layers is added if the setting has several variants of the method, and the start of the method's hash if
    the names are then still the same. The column `factors` of `factors.regrouped` is added where it exists.
    """
    pairs = (" (" + frame["guided_layer"] + " learns " + frame["hint_layer"] + ")").fillna("")
    own_hash = frame.get("bare_method_hash", frame["method_hash"])
    has_variants = own_hash.groupby([frame["setting_hash"], frame["method"]]).transform("nunique") > 1
    names = frame["method"] + frame.get("factors", "") + pairs.where(has_variants, "")
    is_ambiguous = frame.groupby([frame["setting_hash"], names])["method_hash"].transform("nunique") > 1
    return names + (" [" + frame["method_hash"].str[:6] + "]").where(is_ambiguous, "")


def _against(variant: pd.DataFrame, others: list[pd.DataFrame]) -> Iterator[Comparison]:
    """Compare a variant with each other method.

    Of a method's variants only those with the same epochs and the same Eq. 2 are compared. If there are none, the first
    variant is, so that its refusal is shown.
    """
    for method in dict.fromkeys(other["method"].iloc[0] for other in others):
        variants = [other for other in others if other["method"].iloc[0] == method]
        fair = [other for other in variants if _mismatch(variant, other) is None]
        for other in fair or variants[:1]:
            yield compared(variant, other)


def compared(variant: pd.DataFrame, other: pd.DataFrame) -> Comparison:
    """Compare the runs of two methods in one setting, or say why they cannot be compared.

    variant, other: rows of `runs.load` with the column `variant`
    """
    both = pd.concat([variant, other])
    done, other_done = (runs[runs["status"] == "finished"] for runs in (variant, other))
    refusal = _mismatch(variant, other) or _refusal(done, other_done, both)
    same_length = both["retrain_epochs"].nunique() <= 1 and both["retrain_epochs"].isna().nunique() == 1
    epochs = total_epochs(both).dropna()
    first = both.iloc[0]
    setting = {"dataset": str(first["data"]), "teacher": str(first["teacher_name"]), "schedule": str(first["schedule"])}
    return Comparison(
        setting=setting | {"student": str(students(both).iloc[0])},
        setting_hash=str(both["setting_hash"].iloc[0]),
        first=str(variant["variant"].iloc[0]),
        second=str(other["variant"].iloc[0]),
        valid=None if refusal else _on("valid", done, other_done),
        test=_on("test", done, other_done) if refusal is None and same_length else None,
        refusal=refusal,
        left_out=_left_out(done, other_done, both),
        epochs=int(epochs.iloc[0]) if len(epochs) else None,
        at_chance=_at_chance(done, other),
    )


def _mismatch(variant: pd.DataFrame, other: pd.DataFrame) -> str | None:
    """Why two variants cannot be compared, whatever their seeds; None if they can."""
    if not equal_epochs(pd.concat([variant, other])):
        return (
            "they were not trained for the same number of epochs (schedule.equal_epochs=true makes them equal, unless "
            "patience ends a stage)"
        )
    kd_hashes = {value for runs in (variant, other) for value in runs["kd_hash"].dropna()}
    return "they have different temperatures or weights of the teacher's outputs" if len(kd_hashes) > 1 else None


def _refusal(done: pd.DataFrame, other: pd.DataFrame, both: pd.DataFrame) -> str | None:
    if done.empty or other.empty:
        return "one of them has no finished run"
    for runs in (done, other):
        if runs["seed"].duplicated().any():
            method = runs["method"].iloc[0]
            return f"{method} has a seed with several teachers: such runs are not independent repetitions"
    diverged = both[both["status"] == "diverged"]
    if len(diverged):
        return (
            f"{len(diverged)} of {len(both)} runs diverged ({_named(diverged)}): the other runs are not a fair sample"
        )
    if all(is_at_chance(runs, "student") for runs in (done, other)):
        return "neither has begun to learn: no network is better than always naming one class"
    if done["is_taught"].fillna(True).all() and other["is_taught"].fillna(True).all():
        teachers = [runs.set_index("seed")["teacher_hash"] for runs in (done, other)]
        common = teachers[0].index.intersection(teachers[1].index)
        if (teachers[0][common] != teachers[1][common]).any():
            return "they had different teachers for the same seed"
    return None


def is_at_chance(runs: pd.DataFrame, side: str) -> bool:
    """True if no network of these runs is better on validation than always naming one class.

    side: teacher or student

    Returns False if the accuracy of always naming one class is not known.
    """
    return chance.are_all_no_better(accuracies(runs, side))


def accuracies(runs: pd.DataFrame, side: str) -> list[chance.Accuracy]:
    """The accuracies on validation of each run in the form that `experiment.chance` takes. side: teacher or student."""
    columns = runs[[f"{side}_valid_accuracy", "commonest_class", "valid_images"]].astype(object)
    return list(columns.where(columns.notna(), None).itertuples(index=False, name=None))


def _at_chance(done: pd.DataFrame, other: pd.DataFrame) -> str | None:
    """A sentence about the one method whose networks have not begun to learn; None if both have begun.

    If neither has begun, the comparison is refused.
    """
    names = [runs["variant"].iloc[0] for runs in (done, other) if len(runs) and is_at_chance(runs, "student")]
    return f"{names[0]} is no better than always naming one class" if len(names) == 1 else None


def _left_out(done: pd.DataFrame, other: pd.DataFrame, both: pd.DataFrame) -> str | None:
    """Name the runs that did not finish, and the seeds that only one method has."""
    unfinished = both[both["status"] != "finished"]
    remarks = [f"left out: {_named(group)}, {status}" for status, group in unfinished.groupby("status")]
    unmatched = set(done["seed"]) ^ set(other["seed"])
    if unmatched and set(done["seed"]) & set(other["seed"]):
        remarks.append(f"left out: seeds that only one of them has ({', '.join(map(str, sorted(unmatched)))})")
    return "; ".join(remarks) or None


def _named(runs: pd.DataFrame) -> str:
    return ", ".join(f"{method} seed {seed}" for method, seed in zip(runs["method"], runs["seed"], strict=True))


def _on(split: str, done: pd.DataFrame, other: pd.DataFrame) -> Verdict | None:
    """The verdict over the seeds that both have, or over all seeds if they share none."""
    column = f"student_{split}_accuracy"
    first, second = (100 * runs.set_index("seed")[column].dropna().astype(float) for runs in (done, other))
    common = first.index.intersection(second.index)
    if len(common):
        first, second = first[common], second[common]
    if first.empty or second.empty:
        return None
    return compare(first, second, resolution=100 * resolution(pd.concat([done, other]), split))


def equal_epochs(frame: pd.DataFrame) -> bool:
    """True if all runs trained their students for the same number of epochs, both stages counted.

    frame: rows of `runs.load`
    """
    return bool(total_epochs(frame).nunique() <= 1)


def total_epochs(frame: pd.DataFrame) -> pd.Series:
    """Epochs of each run's student, both stages counted; missing if the student was not trained to the end."""
    return frame["student_epochs"] + frame["hint_epochs"].fillna(0)


def _standard_error(
    first: pd.Series, second: pd.Series, *, is_paired: bool, resolution: float
) -> tuple[float | None, float]:
    """The standard error of the difference of means, and its degrees of freedom; None and 0 with a single seed."""
    if min(len(first), len(second)) < 2:
        return None, 0
    if is_paired:
        return max(float((first - second).std()), resolution) / math.sqrt(len(first)), len(first) - 1
    variances = [max(float(sample.std()), resolution) ** 2 / len(sample) for sample in (first, second)]
    total = sum(variances)
    if total == 0:
        return 0.0, len(first) + len(second) - 2
    degrees = total**2 / sum(
        variance**2 / (len(sample) - 1) for variance, sample in zip(variances, (first, second), strict=True)
    )
    return math.sqrt(total), degrees


def _t(degrees: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


def _more_seeds(difference: float, error: float, seeds: int, *, is_paired: bool) -> int | None:
    """Find the smallest number of further seeds with enough power, by bisection. None if _MOST_SEEDS are not enough."""

    def suffices(wanted: int) -> bool:
        degrees = wanted - 1 if is_paired else 2 * (wanted - 1)
        shift = abs(difference) / (error * math.sqrt(seeds / wanted))
        return bool(stats.nct.sf(_t(degrees), degrees, shift) >= _POWER)

    low, high = seeds, _MOST_SEEDS
    if difference == 0 or not suffices(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high - seeds
