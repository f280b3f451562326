"""Notes about classes without images, and about classes with few of them."""

from collections.abc import Iterator

_IMBALANCE = 10
_LISTED = 5


def class_notes(names: list[str], counts: dict[str, list[int]]) -> Iterator[str]:
    """Sentences about classes without images, and classes with few, for the plan and for `fitnets doctor`.

    names: in the order of the labels. counts: images of each class, by split; `train` is one of them."""
    for split, of_split in counts.items():
        empty = [name for name, count in zip(names, of_split, strict=True) if count == 0]
        if empty:
            few = ", ".join(empty[:_LISTED]) + f", ... ({len(empty)} classes)" * (len(empty) > _LISTED)
            yield f"{split}: no image of {few}: nothing is learnt or known of these classes there"
    if told := imbalance(names, counts["train"]):
        yield told


def imbalance(names: list[str], counts: list[int]) -> str | None:
    """A note for a class that has ten times as many training images as another. counts: by class; those without
    images are left out."""
    present = [count for count in counts if count > 0]
    if not present or _IMBALANCE * min(present) > max(present):
        return None
    fewest, most = min(present), max(present)
    rare, common = (names[counts.index(count)] for count in (fewest, most))
    return (
        f"{common} has {most} training images and {rare} {fewest}: accuracy hides how the rare ones fare, and who "
        f"always answers {common} is right in {100 * most / sum(counts):.0f} %"
    )
