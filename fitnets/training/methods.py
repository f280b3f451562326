"""Methods: the stages in which each method trains the student, and their losses."""

from dataclasses import replace

from fitnets.config import (
    Config,
    DeeplySupervised,
    Distill,
    Engine,
    Hints,
    Joint,
    LabelHints,
    Method,
    Mimic,
    Schedule,
    StageSettings,
)
from fitnets.config.seeds import seed_of
from fitnets.models import build
from fitnets.models.hint_pair import needed_guided, needed_pair
from fitnets.models.layers import LayerOutput, Regressor, SoftmaxLayer
from fitnets.models.network import Network, place_like
from fitnets.training.loss_terms import HintTerm, KdTerm, LabelHintTerm, LabelTerm, LossTerm, MimicTerm
from fitnets.training.losses import Reduction
from fitnets.training.stages import HintStage, LabelHintStage, TrainingStage, WholeNetworkStage


def stages(config: Config, teacher: Network | None, student: Network) -> list[TrainingStage]:
    """Return the student's stages in order, with newly initialised regressors and classifiers.

    teacher: None for teacher=none."""
    terms = _terms(config, teacher, student)
    needed_teacher = teacher if any(term.teacher_layer for term in terms) else None
    whole = WholeNetworkStage("student", student, student_stage(config), terms, needed_teacher)
    match config.method:
        case Hints():
            assert teacher is not None
            return [_hint_stage(config, teacher, student), whole]
        case LabelHints(staged=True):
            return [_label_hint_stage(config, student), whole]
        case _:
            return [whole]


def _terms(config: Config, teacher: Network | None, student: Network) -> list[LossTerm]:
    """Terms of the whole student's loss."""
    method, schedule = config.method, config.schedule
    terms: list[LossTerm] = [MimicTerm() if isinstance(method, Mimic) else LabelTerm()]
    if uses_kd(method):
        terms.append(KdTerm(schedule.kd, student_stage(config).epochs))
    match method:
        case Joint(hint_weight=weight):
            assert teacher is not None
            hint_layer, guided = needed_pair(config)
            regressor = _regressor(config, teacher, student)
            terms.append(HintTerm(regressor, hint_layer, guided, weight, reduction="mean"))
        case DeeplySupervised(weight=weight):
            terms.append(LabelHintTerm(_classifiers(config, student, student.hint_layer_names), weight))
        case LabelHints(staged=False):
            terms.append(LabelHintTerm(_classifiers(config, student, [needed_guided(config)]), factor=1.0))
    return terms


def uses_kd(method: Method) -> bool:
    """Return whether the loss has the softened term of Eq. 2."""
    match method:
        case Joint(distill=distill):
            return distill
        case LabelHints(whole=whole):
            return whole == "kd"
        case _:
            return isinstance(method, Hints | Distill)


def student_stage(config: Config) -> StageSettings:
    """Settings of the stage that trains the whole student.

    If schedule.equal_epochs is set, a method without a stage 1 gets the epochs and steps of stage 1 in addition: then
    all methods train equally long."""
    stage, hint = config.schedule.student, config.schedule.hint
    if is_staged(config.method) or not config.schedule.equal_epochs:
        return stage
    max_steps = stage.max_steps
    if max_steps is not None and hint.max_steps is not None:
        max_steps += hint.max_steps
    return replace(stage, epochs=stage.epochs + hint.epochs, max_steps=max_steps)


def view_count(engine: Engine) -> int | None:
    """`engine.views` as a number: how many crops of an image the student's stages see before the crops repeat.

    None if crops never repeat."""
    views = engine.views
    return views if isinstance(views, int) else None


def repeated_views(engine: Engine, stage: StageSettings) -> list[int]:
    """`engine.views` as a part of the stage's hash.

    The list is `[count]` if the stage crops and runs for more epochs than `count`, and empty otherwise: the number then
    changes no result."""
    count = view_count(engine)
    return [count] if stage.augmentation.pad and count is not None and count < stage.epochs else []


def is_staged(method: Method) -> bool:
    """Return whether the method trains the student in two stages."""
    return isinstance(method, Hints) or (isinstance(method, LabelHints) and method.staged)


# --- the teacher's hint ---


def _hint_stage(config: Config, teacher: Network, student: Network) -> HintStage:
    hint_layer, guided = needed_pair(config)
    return HintStage(
        network=student,
        teacher=teacher,
        regressor=_regressor(config, teacher, student),
        hint_layer=hint_layer,
        guided_layer=guided,
        settings=config.schedule.hint,
        reduction=_reduction(config.schedule, teacher.layer_output(hint_layer)),
    )


def _reduction(schedule: Schedule, hint: LayerOutput) -> Reduction:
    """The reduction of `schedule.hint_loss`: the released code sums another axis if the hint layer is not maxout."""
    if schedule.hint_loss == "released" and hint.activation.kind != "maxout":
        return "released_relu"
    return schedule.hint_loss


def _regressor(config: Config, teacher: Network, student: Network) -> Regressor:
    hint_layer, guided = needed_pair(config)
    regressor = build.regressor(config.regressor, student.layer_output(guided), teacher.layer_output(hint_layer))
    build.initialise(regressor, config.schedule.regressor_init, seed_of("regressor weights", config.seed))
    return place_like(student, regressor)


# --- labels at hidden layers ---


def _label_hint_stage(config: Config, student: Network) -> LabelHintStage:
    layer = needed_guided(config)
    classifier = _classifiers(config, student, [layer])[layer]
    return LabelHintStage(student, classifier, layer, config.schedule.hint)


def _classifiers(config: Config, student: Network, layers: list[str]) -> dict[str, SoftmaxLayer]:
    classifiers = {layer: build.classifier(student.layer_output(layer), config.dataset.classes) for layer in layers}
    for layer, classifier in classifiers.items():
        seed = seed_of("classifier weights", layer, config.seed)
        build.initialise(classifier, config.schedule.student_init, seed)
        place_like(student, classifier)
    return classifiers
