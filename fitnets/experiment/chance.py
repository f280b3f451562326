"""Whether a network is better than always naming one class."""

from collections.abc import Iterable

Accuracy = tuple[float | None, float | None, int | float | None]
"""(accuracy, accuracy of always naming the commonest class, images): fractions, of the same images. None: not known"""

_MANY = 10**9
"""images are taken to be so many where their number is not known: no difference but that of rounding is lost"""


def is_no_better(*runs: Accuracy) -> bool:
    """Whether the networks of these runs together get no more images right than always naming one class does. False
    where that is not known of any run.

    Images are counted in whole numbers: a fraction that was stored as 1 - error differs in its last digits from the
    same fraction that was stored as a quotient."""
    counts = [_images_right(run) for run in runs]
    known = [count for count in counts if count is not None]
    return bool(known) and sum(right for right, _ in known) <= sum(of_one_class for _, of_one_class in known)


def are_all_no_better(runs: Iterable[Accuracy]) -> bool:
    """Whether that holds for each of these runs by itself, and there are any."""
    each = [is_no_better(run) for run in runs]
    return bool(each) and all(each)


def _images_right(run: Accuracy) -> tuple[int, int] | None:
    """By the network, and by naming the commonest class."""
    accuracy, commonest, images = run
    if accuracy is None or commonest is None:
        return None
    images = images or _MANY
    return round(accuracy * images), round(commonest * images)
