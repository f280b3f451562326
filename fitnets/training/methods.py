"""The stages in which a method trains the student."""

from dataclasses import replace
from typing import Any

from fitnets.config import Config, Method, StageSettings
from fitnets.config.methods import STAGES, StageName
from fitnets.errors import ConfigError
from fitnets.models import hint_pair
from fitnets.models.network import Network
from fitnets.terms import registry
from fitnets.terms.loss import Site, Term
from fitnets.terms.losses.label import Label
from fitnets.training.stages import Stage


def stages(config: Config, teacher: Network | None, student: Network) -> list[Stage]:
    """Return the student's stages in order, with newly initialised heads such as regressors.

    teacher: None for teacher=none.

    Raises ConfigError if a term does not fit the networks."""
    return [_stage(config, name, teacher, student) for name in STAGES if name in config.method.stages]


def _stage(config: Config, name: StageName, teacher: Network | None, student: Network) -> Stage:
    settings = config.schedule.hint if name == "hint" else student_stage(config)
    terms: list[Term] = []
    for term_name, option in registry.options(config.method, name).items():
        key = registry.term_key(name, term_name)
        site = Site(key=key, name=term_name, config=config, settings=settings, teacher=teacher, student=student)
        terms.append(option.build(site))
    heads = [head for term in terms for head in term.heads]
    for head in dict.fromkeys(heads):
        if heads.count(head) > 1:
            raise ConfigError(f"method.stages.{name}.terms: two terms have a head {head}: give them other names")
    return Stage(
        name=name,
        network=student,
        settings=settings,
        terms=terms,
        until=tuple(hint_pair.guided_layers(config)) if name == "hint" else (),
        teacher=teacher if any(term.teacher_layers for term in terms) else None,
    )


def teacher_stage(config: Config, teacher: Network) -> Stage:
    """The stage in which a teacher is trained, on the labels."""
    settings = config.schedule.teacher
    site = Site(key="schedule.teacher", name="label", config=config, settings=settings, teacher=None, student=teacher)
    return Stage(name="teacher", network=teacher, settings=settings, terms=[Label().build(site)])


def student_stage(config: Config) -> StageSettings:
    """Hyperparameters of the stage that trains the whole student.

    If schedule.equal_epochs is set, a method without a stage 1 gets the epochs and steps of stage 1 in addition: then
    all methods train equally long."""
    stage, hint = config.schedule.student, config.schedule.hint
    if is_staged(config.method) or not config.schedule.equal_epochs:
        return stage
    max_steps = stage.max_steps
    if max_steps is not None and hint.max_steps is not None:
        max_steps += hint.max_steps
    return replace(stage, epochs=stage.epochs + hint.epochs, max_steps=max_steps)


def uses_kd(method: Method) -> bool:
    """Return whether a loss has the softened term of Eq. 2."""
    return any(option.has_eq_2 for _, option in registry.all_options(method))


def is_staged(method: Method) -> bool:
    """Return whether the method trains the student in two stages."""
    return "hint" in method.stages


def view_count(config: Config) -> int | None:
    """How many crops of an image the student's stages see before the crops repeat: `engine.views`, or with `auto` the
    schedule's number.

    None if crops never repeat."""
    views = config.engine.views
    if views == "auto":
        return config.schedule.views
    return views if isinstance(views, int) else None


def rounded_logits(config: Config) -> list[Any]:
    """`engine.cached_logits` as a part of the hash of the student's last stage: empty if logits are exact."""
    kept = config.engine.cached_logits
    return [] if kept == "exact" else [{"cached logits": kept}]


def repeated_views(config: Config, stage: StageSettings) -> list[int]:
    """`view_count` as a part of the stage's hash.

    The list is `[count]` if the stage crops and runs for more epochs than `count`, and empty otherwise: the number then
    changes no result."""
    count = view_count(config)
    return [count] if stage.augmentation.differs_by_view and count is not None and count < stage.epochs else []
