"""95 % intervals of means, and how tables show them."""

from typing import Any

import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
CUT_OFF = "Intervals of accuracies are cut off at 0 and 100 %; such a one is given by its ends."
"""The note below every table that has such an interval."""
_ROUNDING = 1e-9


def resolution(frame: pd.DataFrame, split: str) -> float:
    """The share of one image, which is the smallest measurable difference of accuracies; 0 if the number of images is
    not known.

    split: valid or test
    """
    images = frame[f"{split}_images"].min()
    return 0.0 if pd.isna(images) else 1 / float(images)


def interval(values: pd.Series, resolution: float = 0.0) -> tuple[float, float]:
    """The mean and the half-width of its 95 % interval (Student's t). The half-width of a single value is NaN.

    resolution: a lower bound for the standard deviation, as in `compare`
    """
    numbers = values.astype(float)
    return float(numbers.mean()), float(half_width(max(float(numbers.std()), resolution), len(numbers)))


def bounds(mean: float, half_width: float) -> tuple[float, float]:
    """The ends of the interval of an accuracy or error, in %, cut off at 0 and 100 %."""
    return max(0.0, mean - half_width), min(100.0, mean + half_width)


def with_interval(mean: float, half_width: float, digits: int = 2) -> str:
    """'94.90 ± 0.98', or the ends of an interval that is cut off: '93.00 (76.10 to 100.00)'. All numbers are in %."""
    low, high = bounds(mean, half_width)
    if is_cut_off(mean, half_width):
        return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


def is_cut_off(mean: float, half_width: float) -> bool:
    """True if the interval would go beyond 0 or 100 %."""
    return mean - half_width < -_ROUNDING or mean + half_width > 100 + _ROUNDING


def half_width(deviation: Any, count: Any) -> Any:
    """The half-width of the 95 % interval of a mean.

    deviation: standard deviation of the values, computed with count - 1
    count: number of values
    """
    return stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation / count**0.5
