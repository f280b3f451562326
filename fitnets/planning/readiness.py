"""The accuracy of a teacher that needs no training, measured on validation images before a student learns from it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from fitnets.config import image_shape
from fitnets.models import costs, layer_pairs
from fitnets.planning.plan import Plan
from fitnets.training import metrics

_MOST_IMAGES = 1000
_LEAST_IMAGES = 50
_MULTIPLICATIONS = {"cpu": 2e10, "cuda": 2e12}
"""multiplications that this evaluation may take before a run, by device type: a few seconds' worth"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The results of a teacher on validation images.

    images: number of evaluated images
    correct: number of images that the teacher classifies correctly
    commonest: number of images of the most frequent class; a teacher that always names this class gets them right
    accuracy: correct / images
    are_probabilities: whether the outputs that it gives as logits are probabilities"""

    images: int
    correct: int
    commonest: int
    accuracy: float
    are_probabilities: bool = False

    @property
    def is_no_better_than_one_class(self) -> bool:
        return self.correct <= self.commonest

    def describe(self) -> str:
        return f"right on {self.correct} of {self.images} validation images ({100 * self.accuracy:.2f} %)"

    def warnings(self) -> Iterator[str]:
        """Warn of a teacher that is no better than always naming one class, and of one that returns probabilities."""
        if self.are_probabilities:
            yield (
                "the teacher's logits look like probabilities (none is below 0, and those of an image add up to 1): a "
                "softmax of them is nearly even, so give a model without its last softmax, or teacher.logits=NAME"
            )
        if not self.is_no_better_than_one_class:
            return
        yield (
            f"the teacher is {self.describe()}; always naming the commonest class is right on {self.commonest}: check "
            "teacher.weights, teacher.mean and teacher.std (fitnets doctor shows the range of the pixel values), and "
            "the order of the classes"
        )


def evaluate(plan: Plan, most: int | None = None) -> Readiness:
    """Evaluate the teacher, whose weights must be loaded, on the validation split.

    most: at most this many images, evenly spaced in the split; None takes all"""
    valid = plan.data.valid
    assert plan.teacher is not None
    if most is not None:
        valid = replace(valid, rows=valid.rows[:: -(-len(valid) // most)])
    logits, labels = metrics.predict(plan.teacher, valid, plan.config.engine.eval_batch_size)
    counts = valid.class_counts(plan.config.dataset.classes)
    correct = int((logits.argmax(1) == labels).sum())
    sums = logits.sum(dim=1)
    return Readiness(
        images=len(labels),
        correct=correct,
        commonest=max(counts),
        accuracy=correct / len(labels),
        are_probabilities=bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3),
    )


def evaluate_if_quick(plan: Plan) -> Readiness | None:
    """Evaluate a teacher that needs no training on up to 1,000 images, or on as many as take a few seconds.

    Returns None if there is no teacher or it will be trained, or if fewer than 50 images fit into that time."""
    if plan.teacher is None or plan.teacher_stage is not None:
        return None
    per_image = max(1, costs.cost(plan.teacher, image_shape(plan.config.dataset)).multiplications)
    most = min(_MOST_IMAGES, int(_MULTIPLICATIONS.get(plan.device.type, 2e10) / per_image))
    return evaluate(plan, most) if most >= min(_LEAST_IMAGES, len(plan.data.valid)) else None


def warnings(plan: Plan, ready: Readiness | None) -> Iterator[str]:
    """Warn of a teacher at chance and of regressors that are larger than the student."""
    if ready is not None:
        yield from ready.warnings()
    for regressor in plan.regressors:
        if warning := layer_pairs.outweighs(regressor, plan.student):
            yield warning
