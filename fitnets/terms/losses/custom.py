"""A user's own loss, by its import path."""

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fitnets.config import Config
from fitnets.config.seeds import seed_of
from fitnets.errors import ConfigError
from fitnets.models.custom import factory
from fitnets.models.hint_pair import Link
from fitnets.models.layers import LOGITS, as_float32
from fitnets.models.network import place_like
from fitnets.system import imports
from fitnets.system.imports import first_line
from fitnets.terms.loss import BatchOutputs, FeatureLoss, FeatureTerm, Site, Term, loss

_PROBED = 4
"""number of images that a loss is tried with"""
Compare = Callable[[Tensor, Tensor], Tensor]


class Head(nn.Module):
    """A user's module that compares outputs and may have weights of its own."""

    kind: ClassVar[str] = "head"

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        value: Tensor = self.module(student, teacher)
        return value


@loss
class Custom(FeatureLoss):
    """A function of (student output, teacher output), or a class whose objects are called with them, such as a module.
    The outputs are in fp32. The result is a scalar, the mean over the batch. The weights of a module are trained beside
    the student and dropped afterwards.

    A function gets `args` in every call. A class is built with them once, for each pair of layers, and also gets
    `student_shape` and `teacher_shape`, the shapes of one image's outputs, if it takes arguments of these names."""

    compares_images: ClassVar[bool] = True  # it may; if it is a mean, the result is the same

    target: str
    """import path, `my_losses.Cosine`, of a function or class in the current folder or in an installed package"""
    args: dict[str, Any] | None = None
    """arguments by name"""
    compares: Literal["logits", "features"] = "logits"
    """features: the features at each pair of `hint_layer`"""

    @property
    def at(self) -> Literal["pairs", "guided"] | None:  # type: ignore[override]
        return "pairs" if self.compares == "features" else None

    def build(self, site: Site) -> Term:
        return CustomFeatureTerm(self, site) if self.compares == "features" else CustomLogitTerm(self, site)

    def determined_by(self, config: Config) -> list[Any]:
        pairs = super().determined_by(config) if self.compares == "features" else []
        return [imports.source_digest(self.target), *pairs]

    def problems(self, key: str, config: Config) -> Iterator[str]:
        if not isinstance(self.args, dict | None) or not all(isinstance(name, str) for name in self.args or {}):
            yield f"{key}.args={self.args}: give arguments by name, '{key}.args={{margin: 0.5}}'"


class CustomLogitTerm(Term):
    """The term of a user's loss on logits."""

    teacher_layers = (LOGITS,)

    def __init__(self, option: Custom, site: Site):
        super().__init__(site.name, site.settings.epochs, option.weight)
        assert site.teacher is not None
        self.option, self.compares_images = option, option.compares_images
        shape = (site.student.classes,)
        self.compare = comparison(option, site, shape, (site.teacher.classes,), purpose="")
        if isinstance(self.compare, Head):
            self.heads[self.head_name("head")] = self.compare

    def loss(self, outputs: BatchOutputs) -> Tensor:
        assert outputs.logits is not None
        return self.compare(as_float32(outputs.logits), as_float32(outputs.teacher[LOGITS]))

    def describe(self) -> str:
        return f"{self.option.target} of the logits"


class CustomFeatureTerm(FeatureTerm):
    """The term of a user's loss on features, with an object of its own for each pair of layers."""

    def __init__(self, option: Custom, site: Site):
        super().__init__(option, site, site.links())
        assert site.teacher is not None
        self.target = option.target
        self.compare_of: dict[str, Compare] = {}
        for link in self.links:
            shapes = site.student.layer_output(link.guided).out_shape, site.teacher.layer_output(link.hint).out_shape
            compare = self.compare_of[link.name] = comparison(option, site, *shapes, purpose=link.name)
            if isinstance(compare, Head):
                self.heads[self.head_name("head", link)] = compare

    def pair_loss(self, link: Link, student: Tensor, teacher: Tensor) -> Tensor:
        return self.compare_of[link.name](student, teacher)

    def describe(self) -> str:
        return f"{self.target} of {', '.join(f'{link.guided} and {link.hint}' for link in self.links)}"


# --- the user's function or object ---


def comparison(
    option: Custom, site: Site, student_shape: tuple[int, ...], teacher_shape: tuple[int, ...], *, purpose: str
) -> Compare:
    """Return the user's function with its arguments, or a new object of the user's class. A module with weights
    or buffers is returned as a `Head`, on the student's device. It is tried with random outputs.

    student_shape, teacher_shape: those of one image's outputs.
    purpose: part of the seed of a module's initial weights.

    Raises ConfigError if the import path, the arguments or the result cannot be used."""
    place = f"{site.key}.target={option.target}"
    found, _ = imports.import_factory(option.target, f"{site.key}.target")
    arguments = dict(option.args or {})
    compare: Any
    if isinstance(found, type):
        shapes = {"student_shape": student_shape, "teacher_shape": teacher_shape}
        arguments |= {name: shape for name, shape in shapes.items() if name in _parameters(found)}
        with torch.device("cpu"), factory.seeded(seed_of("loss weights", site.name, purpose, site.config.seed)):
            compare = imports.call(found, arguments, place, f"{site.key}.args")
        _check_weights(compare, place)
    else:
        compare = partial(found, **arguments)
    _try(_copied(compare), place, student_shape, teacher_shape, imports.signature(found))
    if isinstance(compare, nn.Module) and compare.state_dict():
        return place_like(site.student, Head(compare.float()))
    return compare  # type: ignore[no-any-return]


def _parameters(found: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return set()


def _copied(compare: Compare) -> Compare:
    """A copy to try, because the call may change the object's state; the object itself if it cannot be copied."""
    try:
        return copy.deepcopy(compare)
    except Exception:  # from the user's code
        return compare


def _check_weights(compare: Any, place: str) -> None:
    """Raise ConfigError for weights that no optimiser would find."""
    if isinstance(compare, nn.Module):
        return
    for name, value in getattr(compare, "__dict__", {}).items():
        has_weights = isinstance(value, nn.Module) and next(value.parameters(), None) is not None
        if has_weights or isinstance(value, nn.Parameter):
            raise ConfigError(
                f"{place}: its {name} has weights and would not be trained: make the class a torch.nn.Module"
            )


def _try(
    compare: Compare, place: str, student_shape: tuple[int, ...], teacher_shape: tuple[int, ...], signature: str
) -> None:
    """Call a loss with random outputs. Raises ConfigError unless it gives a finite scalar that depends on the student's
    output, and leaves both as they are."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.rand(_PROBED, *shape, generator=generator, device="cpu") for shape in (student_shape, teacher_shape)
    )
    given = student.clone(), teacher.clone()
    student.requires_grad_(True)
    outputs = student * 1.0  # so that a change in place raises no error of PyTorch's own
    tried = f"for outputs of {_shape(given[0])} and {_shape(given[1])}"
    with torch.enable_grad(), torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that of float(loss), which is refused below
        try:
            value = compare(outputs, teacher)
        except Exception as error:  # from the user's code
            raise ConfigError(
                f"{place}: {tried} it failed ({type(error).__name__}: {first_line(error)}): it is called with (student "
                f"output, teacher output){signature}"
            ) from error
        if not isinstance(value, Tensor):
            raise ConfigError(f"{place}: {tried} it returns a {type(value).__name__}: return a tensor, the mean loss")
        if value.ndim:
            raise ConfigError(
                f"{place}: {tried} it returns a tensor of shape {tuple(value.shape)}: return one number, such as "
                "loss.mean()"
            )
        if not bool(value.isfinite()):
            raise ConfigError(f"{place}: {tried} it returns {float(value)}: it must be finite")
        if not (torch.equal(outputs, given[0]) and torch.equal(teacher, given[1])):
            raise ConfigError(f"{place}: it changes its inputs in place: work on copies, x.clone()")
        gradient = torch.autograd.grad(value, student, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise ConfigError(
            f"{place}: its result does not depend on the student's output: leave torch.no_grad and detach out of it"
        )


def _shape(outputs: Tensor) -> str:
    return "x".join(map(str, outputs.shape))
