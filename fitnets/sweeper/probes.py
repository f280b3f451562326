"""Composes jobs at the ends of a study's search space before the first trial.

Composing them finds mistakes in the search space, and budgets that no job can meet.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from fitnets.composition import mistakes
from fitnets.config import Config
from fitnets.errors import BudgetError, ConfigError
from fitnets.sweeper import job, trials
from fitnets.sweeper.trials import Space
from fitnets.sweeper.units import with_unit

_MAX_CHOICES = 50
"""largest number of choices of one parameter that are tried"""
_MAX_SHOWN = 4
"""largest number of mistakes that a message lists"""
_SMALL_SPACE = 64
"""a space of at most this many points is checked point by point"""
_MAX_CORNERS = 256
"""the budgets of a space with more corners are not checked"""
LARGER = "give larger budgets, or a larger search space"
_DRAWS = 16
"""random points of a larger space that are checked besides its corners"""

Params = dict[str, Any]
Configure = Callable[[Params], Config]
"""Returns the configuration of the job with these parameters, and raises what composing raises."""


# --- mistakes ---


def check(space: Space, configure: Configure) -> None:
    """Compose a job for each end of each parameter, with the other parameters at their first value.

    Raises ConfigError that lists every parameter that cannot be composed. Costs over a budget are no mistake.
    """
    first = {name: _whole(next(_ends(distribution))) for name, distribution in space.items()}
    problem = _problem(configure, first)
    sound = first if problem is None else _sound(space, first, configure)
    if sound is None:  # the mistake is not in one parameter alone
        raise ConfigError(str(problem))
    broken = list(_broken(space, sound, configure))
    if broken:
        more = [f"and {len(broken) - _MAX_SHOWN} more"] if len(broken) > _MAX_SHOWN else []
        raise ConfigError("\n".join(broken[:_MAX_SHOWN] + more))


def _whole(value: Any) -> Any:
    """3.0 becomes 3, which both an integer key and a float key accept."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sound(space: Space, first: Params, configure: Configure) -> Params | None:
    """The first point that can be composed after changing one parameter to another end; None if there is none."""
    for name, distribution in space.items():
        for value in islice(_ends(distribution), _MAX_CHOICES):
            if _problem(configure, {**first, name: value}) is None:
                return {**first, name: value}
    return None


def _broken(space: Space, others: Params, configure: Configure) -> Iterator[str]:
    """A message for each parameter with an end that cannot be composed. others: values of the other parameters."""
    for name, distribution in space.items():

        def problem_of(value: Any, name: str = name) -> str | None:
            return _problem(configure, {**others, name: value})

        problems = ((value, problem_of(value)) for value in islice(_ends(distribution), _MAX_CHOICES))
        for value, problem in problems:
            if problem is not None:
                yield _in_words(name, value, distribution, problem, problem_of)
                break


def _problem(configure: Configure, params: Params) -> str | None:
    """Why the job with these parameters cannot be composed; None if it can."""
    try:
        configure(params)
    except BudgetError:
        return None
    except (ConfigError, *mistakes.MISTAKES) as error:
        return mistakes.short_message(error)
    return None


def _ends(distribution: BaseDistribution) -> Iterator[Any]:
    """All choices, or both ends of a range; for an interval of reals also a point inside it, in general a fraction."""
    match distribution:
        case CategoricalDistribution():
            yield from distribution.choices
        case FloatDistribution() if distribution.step is None:
            inside = distribution.low + 0.375 * (distribution.high - distribution.low)
            yield from dict.fromkeys((distribution.low, distribution.high, inside))
        case IntDistribution() | FloatDistribution():
            yield from dict.fromkeys((distribution.low, distribution.high))


def _in_words(
    name: str, value: Any, distribution: BaseDistribution, problem: str, problem_of: Callable[[Any], str | None]
) -> str:
    """The message about a parameter, with an override for whole numbers if the key takes only these."""
    lines = problem.splitlines()
    shown = lines[0] if lines[0].startswith(name) else f"{name}={value}: {lines[0]}"
    if len(lines) > 1:
        shown += f" ({' '.join(lines[1:])})"
    if isinstance(distribution, FloatDistribution) and distribution.step is None and problem_of(int(value)) is None:
        low, high = (f"{end:g}" for end in (distribution.low, distribution.high))
        interval = f"interval({low},{high})"
        whole = f"tag(log, int({interval}))" if distribution.log else f"int({interval})"
        inside = list(_ends(distribution))[-1]
        return f"{name}={interval} gives numbers like {inside:g}, and {name} takes whole ones: give '{name}={whole}'"
    return shown


# --- budgets ---


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The job that comes closest to the budgets among those that were checked.

    words: the job's parameters, its cost and the budget, for messages
    ratio: cost divided by budget, for the budget that is exceeded most
    """

    words: str
    ratio: float


def cheapest(params: Params, costs: dict[str, float], budgets: dict[str, float], best: Cheapest | None) -> Cheapest:
    """The cheaper of a job and `best`, the cheapest job so far."""
    name = max(budgets, key=lambda name: costs[name] / budgets[name])
    ratio = costs[name] / budgets[name]
    if best is not None and best.ratio <= ratio:
        return best
    cost, budget = with_unit(name, costs[name]), with_unit(name, budgets[name])
    return Cheapest(f"{words(params)} has {cost} of sweep.budgets.{name}={budgets[name]:g} ({budget})", ratio)


def check_budgets(space: Space, configure: Configure) -> None:
    """Raise ConfigError if no job can be within its budgets.

    All points of a small space are checked. Of a larger space the corners are checked, where costs are smallest, and
    some random points.
    """
    points, checked = _points_to_check(space)
    best: Cheapest | None = None
    reason = ""
    for params in points:
        try:
            config = configure(params)
        except BudgetError as error:
            reason = f"for example {words(params)}: {error}"
            continue
        except (ConfigError, *mistakes.MISTAKES):  # another mistake, which `check` reports
            return
        budgets = config.sweep.budgets
        if not budgets:
            return
        best = cheapest(params, job.bounded(config)[0], budgets, best)
        if best.ratio <= 1:
            return
    if best is not None:
        reason = f"the cheapest {best.words}: {LARGER}"
    if reason:
        raise ConfigError(f"no student of the study is within budget, {checked}; {reason}")


def _points_to_check(space: Space) -> tuple[Iterable[Params], str]:
    """(points, words for them in a message). There are no points if the space has too many corners."""
    size = trials.size(space)
    if size is not None and size <= _SMALL_SPACE:
        return _product([_points(distribution) for distribution in space.values()], space), f"none of {size}"
    ends = [list(_ends(distribution)) for distribution in space.values()]
    if prod(map(len, ends)) > _MAX_CORNERS:
        return [], ""
    return (*_product(ends, space), *_drawn(space)), "nor is any at a corner of the search space"


def _product(values: list[list[Any]], space: Space) -> Iterator[Params]:
    return (dict(zip(space, point, strict=True)) for point in product(*values))


def _points(distribution: BaseDistribution) -> list[Any]:
    match distribution:
        case CategoricalDistribution():
            return list(distribution.choices)
        case IntDistribution():
            return list(range(distribution.low, distribution.high + 1, distribution.step))
        case FloatDistribution(step=float() as step):
            count = round((distribution.high - distribution.low) / step) + 1
            return [distribution.low + number * step for number in range(count)]
        case _:
            return list(_ends(distribution))


def _drawn(space: Space) -> Iterator[Params]:
    generator = random.Random(0)
    for _ in range(_DRAWS):
        yield {name: _draw(distribution, generator) for name, distribution in space.items()}


def _draw(distribution: BaseDistribution, generator: random.Random) -> Any:
    match distribution:
        case FloatDistribution(step=None):
            return generator.uniform(distribution.low, distribution.high)
        case IntDistribution():
            return generator.randrange(distribution.low, distribution.high + 1, distribution.step)
        case _:
            return generator.choice(_points(distribution))


def words(params: Params) -> str:
    """The parameters with the last parts of their keys, like 'depth=7 width=12'."""
    return " ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in params.items())
