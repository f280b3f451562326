"""Notes about classes with no images, and about classes with few."""

from collections.abc import Iterator

_IMBALANCE = 10
"""a note is made if one class has this many times the training images of another"""
_LISTED = 5
"""largest number of class names in a note"""


def class_notes(names: list[str], counts: dict[str, list[int]]) -> Iterator[str]:
    """Yield sentences about classes with no images and classes with few, for the plan and for `fitnets doctor`.

    names: class names in the order of the labels.
    counts: number of images of each class, by split; the key `train` is required."""
    for split, split_counts in counts.items():
        empty = [name for name, count in zip(names, split_counts, strict=True) if count == 0]
        if empty:
            shown = ", ".join(empty[:_LISTED]) + f", ... ({len(empty)} classes)" * (len(empty) > _LISTED)
            yield f"{split}: no image of {shown}: these classes are neither learnt nor measured there"
    if note := imbalance(names, counts["train"]):
        yield note


def imbalance(names: list[str], counts: list[int]) -> str | None:
    """A note if one class has at least ten times as many training images as another, else None. Classes without images
    do not count.

    counts: number of training images of each class."""
    present = [count for count in counts if count > 0]
    if not present or _IMBALANCE * min(present) > max(present):
        return None
    fewest, most = min(present), max(present)
    rare, common = (names[counts.index(count)] for count in (fewest, most))
    return (
        f"{common} has {most} training images and {rare} {fewest}: accuracy hides how the rare ones fare: always "
        f"predicting {common} would be right for {100 * most / sum(counts):.0f} % of the images"
    )
