"""How good a teacher is that needs no training, on validation images, before a student is trained by it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fitnets.config import image_shape
from fitnets.models import costs, layer_pairs
from fitnets.planning.plan import Plan
from fitnets.training import metrics

_MOST_IMAGES = 1000
_LEAST_IMAGES = 50
_MULTIPLICATIONS = {"cpu": 2e10, "cuda": 2e12}
"""that a run may spend on this before it begins: some seconds"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """images: validation images that were evaluated; correct: those that the teacher gives their label; commonest:
    those of the most frequent class, which is what a teacher gets that always names it; accuracy: a fraction."""

    images: int
    correct: int
    commonest: int
    accuracy: float

    @property
    def is_no_better_than_one_class(self) -> bool:
        return self.correct <= self.commonest

    def in_words(self) -> str:
        return f"right on {self.correct} of {self.images} validation images ({100 * self.accuracy:.2f} %)"

    def warning(self) -> str | None:
        """None for a teacher that has something to teach."""
        if not self.is_no_better_than_one_class:
            return None
        return (
            f"the teacher is {self.in_words()}, and naming one class always is on {self.commonest}: check "
            "teacher.weights, teacher.mean and teacher.std (fitnets doctor shows what the images are like), and the "
            "order of the classes"
        )


def evaluated(plan: Plan, most: int | None = None) -> Readiness:
    """Evaluate the teacher, whose weights must be there. most: bound on the images, evenly spaced; None: all."""
    valid = plan.data.valid
    assert plan.teacher is not None
    if most is not None:
        valid = replace(valid, rows=valid.rows[:: -(-len(valid) // most)])
    logits, labels = metrics.predict(plan.teacher, valid, plan.config.engine.eval_batch_size)
    counts = valid.class_counts(plan.config.dataset.classes)
    correct = int((logits.argmax(1) == labels).sum())
    return Readiness(images=len(labels), correct=correct, commonest=max(counts), accuracy=correct / len(labels))


def evaluated_if_quick(plan: Plan) -> Readiness | None:
    """Evaluate a teacher that needs no training on up to 1,000 images, or on as many as take some seconds. None where
    the teacher will be trained, or fewer than 50 images would be left."""
    if plan.teacher is None or plan.teacher_stage is not None:
        return None
    one = max(1, costs.cost(plan.teacher, image_shape(plan.config.dataset)).multiplications)
    most = min(_MOST_IMAGES, int(_MULTIPLICATIONS.get(plan.device.type, 2e10) / one))
    return evaluated(plan, most) if most >= min(_LEAST_IMAGES, len(plan.data.valid)) else None


def warnings(plan: Plan, ready: Readiness | None) -> Iterator[str]:
    """Warnings about the teacher's accuracy and the regressor's size."""
    if ready is not None and (warning := ready.warning()):
        yield warning
    if plan.hint is not None and (warning := layer_pairs.outweighs(plan.hint.regressor, plan.student)):
        yield warning
