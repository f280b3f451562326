"""Is one method better than another? An honest answer: a difference of means with its 95 % interval, and how many more
seeds would settle it. Never a bare best of n."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
_MOST_SEEDS = 1000


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


def interval(values: pd.Series) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t); the half-width of a single value is NaN."""
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), _t(len(values) - 1) * float(stats.sem(values))


def equal_epochs(frame: pd.DataFrame) -> bool:
    """Whether all runs trained their students for the same number of epochs, both stages counted. frame: of
    `runs.load`."""
    total = frame["student_epochs"].fillna(0) + frame["hint_epochs"].fillna(0)
    return bool(total.nunique() <= 1)


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
