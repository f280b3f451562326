"""Tests whether a network is better than always naming one class."""

from collections.abc import Iterable

Accuracy = tuple[float | None, float | None, int | float | None]
"""(accuracy, accuracy of always naming the commonest class, number of images): fractions of the same images. None
stands for an unknown value."""

_UNKNOWN_IMAGES = 10**9
"""Stands for an unknown number of images. It is large, so that counts of whole images keep all digits that matter."""


def is_no_better(*runs: Accuracy) -> bool:
    """Return whether the networks of these runs together classify no more images correctly than always naming the
    commonest class does. Runs with an unknown accuracy are ignored; without any other run the result is False.

    Images are counted in whole numbers, because a fraction that was stored as 1 - error differs in its last digits from
    the same fraction that was stored as a quotient."""
    counts = [count for count in map(_correct_images, runs) if count is not None]
    return bool(counts) and sum(correct for correct, _ in counts) <= sum(by_one_class for _, by_one_class in counts)


def are_all_no_better(runs: Iterable[Accuracy]) -> bool:
    """Return whether every one of these runs by itself is no better than always naming one class. Without runs it is
    False."""
    each = [is_no_better(run) for run in runs]
    return bool(each) and all(each)


def _correct_images(run: Accuracy) -> tuple[int, int] | None:
    """The number of images that the network gets right, and that naming the commonest class gets right."""
    accuracy, commonest, images = run
    if accuracy is None or commonest is None:
        return None
    images = images or _UNKNOWN_IMAGES
    return round(accuracy * images), round(commonest * images)
