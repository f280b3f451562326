"""Is one method better than another? An honest answer: a difference of means with its 95 % interval, and how many more
seeds would settle it. Never a bare best of n."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from scipy import stats

from analysis.runs import students

CONFIDENCE = 0.95
_MOST_SEEDS = 1000
METHODS = [  # in the order of tables and colours: what hints are compared with comes first
    "backprop", "labels_then_labels", "labels_with_labels", "dsn", "mimic", "kd", "labels_then_kd", "labels_with_kd",
    "joint", "hints",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """difference: of the means, first minus second, in the metric's unit; half_width: of its 95 % interval, None with
    fewer than two seeds; more_seeds: about how many of each would make the interval exclude 0, if mean and spread stay;
    None where it does already, or none would."""

    word: Literal["BETTER", "WORSE", "INCONCLUSIVE"]
    difference: float
    half_width: float | None
    seeds: int
    is_paired: bool
    more_seeds: int | None

    def __str__(self) -> str:
        return f"{self.word}, {self.numbers}"

    @property
    def numbers(self) -> str:
        """In words, the difference in points."""
        if self.half_width is None:
            return f"{self.difference:+.2f} points with a single seed: give at least two"
        seeds = f"{self.seeds} seeds{', paired' if self.is_paired else ''}"
        told = f"{self.difference:+.2f} ± {self.half_width:.2f} points (95 % interval, {seeds})"
        if self.word != "INCONCLUSIVE":
            return told
        if self.more_seeds is None:
            return f"{told}; not even {_MOST_SEEDS:,} seeds would settle it"
        return f"{told}; about {self.more_seeds} more seeds would settle it"


def compare(first: pd.Series, second: pd.Series, *, larger_is_better: bool = True) -> Verdict:
    """Two methods by a metric, each indexed by seed. Paired where they have the same seeds, by Welch's test where they
    share none. ValueError for anything between, or a seed that occurs twice: such a comparison is no fair one."""
    first, second = first.dropna().sort_index(), second.dropna().sort_index()
    if first.index.has_duplicates or second.index.has_duplicates:
        raise ValueError("a seed occurs twice: compare runs that differ in method and seed alone")
    is_paired = first.index.equals(second.index)
    if not is_paired and len(first.index.intersection(second.index)):
        raise ValueError(f"seeds differ: {list(first.index)} and {list(second.index)}: run both with the same seeds")
    difference = float(first.mean() - second.mean())
    seeds = min(len(first), len(second))
    told: dict[str, Any] = {"difference": difference, "seeds": seeds, "is_paired": is_paired}
    spread, degrees = _spread(first, second, is_paired=is_paired)
    if spread is None:
        return Verdict(word="INCONCLUSIVE", half_width=None, more_seeds=None, **told)
    half_width = spread * _t(degrees)
    if abs(difference) > half_width:
        is_better = (difference > 0) == larger_is_better
        return Verdict(word="BETTER" if is_better else "WORSE", half_width=half_width, more_seeds=None, **told)
    more = _more_seeds(difference, spread, seeds, is_paired=is_paired)
    return Verdict(word="INCONCLUSIVE", half_width=half_width, more_seeds=more, **told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods in one setting (all but method and seeds): accuracies in percentage points.

    valid: what decides; test: beside it, None where it was not evaluated; refusal: why there is no verdict; epochs: of
    both, both stages counted."""

    setting: dict[str, str]
    first: str
    second: str
    valid: Verdict | None
    test: Verdict | None
    refusal: str | None
    epochs: tuple[int, int]

    def __str__(self) -> str:
        name = f"{self.first} against {self.second}"
        if self.valid is None:
            return f"{name}: no verdict: {self.refusal}"
        return f"{name}: {self.valid}"


def comparisons(frame: pd.DataFrame) -> list[Comparison]:
    """Of hints with every other method, and of KD with backprop, in each setting that has both. frame: of
    `runs.load`; what is not finished is left out."""
    found = []
    for _, runs in frame[frame["status"] == "finished"].groupby("setting_hash", sort=False):
        methods = [method for method in METHODS if (runs["method"] == method).any()]
        pairs = [("hints", other) for other in methods if "hints" in methods and other != "hints"]
        pairs += [("kd", "backprop")] if {"kd", "backprop"} <= set(methods) else []
        found += [_comparison(runs, first, second) for first, second in pairs]
    return found


def _comparison(runs: pd.DataFrame, first: str, second: str) -> Comparison:
    one, other = (runs[runs["method"] == method] for method in (first, second))
    epochs = tuple(int(total_epochs(chosen).iloc[0]) for chosen in (one, other))
    refusal = _refusal(one, other)
    verdicts = [None, None] if refusal else [_on(split, one, other) for split in ("valid", "test")]
    setting = {key: str(runs.iloc[0][key]) for key in ("dataset", "teacher", "schedule")}
    setting["student"] = str(students(runs).iloc[0])
    return Comparison(
        setting=setting,
        first=first,
        second=second,
        valid=verdicts[0],
        test=verdicts[1],
        refusal=refusal,
        epochs=(epochs[0], epochs[1]),
    )


def _refusal(one: pd.DataFrame, other: pd.DataFrame) -> str | None:
    for runs in (one, other):
        method = runs["method"].iloc[0]
        if runs["method_hash"].nunique() > 1:
            return f"{method} was run with several settings of its own"
        if runs["seed"].duplicated().any():
            return f"{method} has a seed with several teachers: such runs are no independent repetitions"
    if not equal_epochs(pd.concat([one, other])):
        return "they were not trained for the same number of epochs (schedule.equal_epochs=true sees to it)"
    if not set(one["seed"]) & set(other["seed"]):
        return "they have no seed in common"
    return None


def _on(split: str, one: pd.DataFrame, other: pd.DataFrame) -> Verdict | None:
    """By the seeds that both have."""
    column = f"student_{split}_accuracy"
    first, second = (100 * runs.set_index("seed")[column].dropna().astype(float) for runs in (one, other))
    common = first.index.intersection(second.index)
    return compare(first[common], second[common]) if len(common) else None


def interval(values: pd.Series) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t); the half-width of a single value is NaN."""
    known = values.astype(float)
    return float(known.mean()), float(half_width(known.std(), len(known)))


def half_width(deviation: Any, count: Any) -> Any:
    """Of the 95 % interval of a mean, from the standard deviation (by count - 1) and the count of the values."""
    return stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation / count**0.5


def equal_epochs(frame: pd.DataFrame) -> bool:
    """Whether all runs trained their students for the same number of epochs, both stages counted. frame: of
    `runs.load`."""
    return bool(total_epochs(frame).nunique() <= 1)


def total_epochs(frame: pd.DataFrame) -> pd.Series:
    """Of the student, both stages counted; missing where it was not trained to the end."""
    return frame["student_epochs"] + frame["hint_epochs"].fillna(0)


def _spread(first: pd.Series, second: pd.Series, *, is_paired: bool) -> tuple[float | None, float]:
    """(standard error of the difference of means, degrees of freedom)."""
    if min(len(first), len(second)) < 2:
        return None, 0
    if is_paired:
        return float(stats.sem(first - second)), len(first) - 1
    parts = [float(stats.sem(one)) ** 2 for one in (first, second)]
    total = sum(parts)
    if total == 0:
        return 0.0, len(first) + len(second) - 2
    degrees = total**2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, (first, second), strict=True))
    return math.sqrt(total), degrees


def _t(degrees: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


def _more_seeds(difference: float, spread: float, seeds: int, *, is_paired: bool) -> int | None:
    for wanted in range(seeds + 1, _MOST_SEEDS):
        degrees = wanted - 1 if is_paired else 2 * (wanted - 1)
        if abs(difference) > spread * math.sqrt(seeds / wanted) * _t(degrees):
            return wanted - seeds
    return None
