"""Eq. 3: the student's features, through a regressor, are compared with the teacher's."""

from typing import Any, Literal

from torch import Tensor

from fitnets.config import Config
from fitnets.models import layer_pairs
from fitnets.models.hint_pair import Link
from fitnets.models.layers import Regressor, as_float32
from fitnets.terms.loss import FeatureLoss, FeatureTerm, Site, Term, loss

Reduction = Literal["sum", "released", "released_relu", "mean"]


def hint_loss(regressed: Tensor, hint: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Eq. 3: half the squared distance between the regressor's output and the hint.

    regressed, hint: (N, C, H, W) or (N, units), of the same shape. Raises ValueError if the shapes differ.
    reduction: "sum" is Eq. 3, summed over channels and positions. "released" and "released_relu" are the released
    code's value: H/2 times the mean square for maxout hints, C/2 times for other hints (H: height of the map, C: its
    channels). "mean" is the mean square of later literature."""
    if regressed.shape != hint.shape:
        raise ValueError(f"the regressor gives {tuple(regressed.shape[1:])} and the hint is {tuple(hint.shape[1:])}")
    square = (as_float32(regressed) - as_float32(hint)).square()
    if reduction == "sum":
        return 0.5 * square.flatten(1).sum(dim=1).mean()
    if reduction == "mean":
        return square.mean()
    summed_axis = 1 if reduction == "released_relu" else 2  # the released code averages over the other axes
    summed = hint.shape[summed_axis] if hint.ndim == 4 else 1
    return 0.5 * summed * square.mean()


@loss
class Hint(FeatureLoss):
    """The hint loss of the paper, or the mean square of later literature. Each pair of layers has a regressor."""

    reduction: Literal["sum", "released", "mean"] | None = None
    """None: `schedule.hint_loss`; `mean`: the mean square"""

    def build(self, site: Site) -> Term:
        return HintTerm(self, site, site.links())

    def head(self, site: Site, link: Link) -> Regressor:
        return site.regressor(link)

    def reduction_in(self, config: Config) -> Literal["sum", "released", "mean"]:
        return self.reduction or config.schedule.hint_loss

    def determined_by(self, config: Config) -> list[Any]:
        regressors = layer_pairs.resolved_regressors(config)
        init, reduction = config.schedule.regressor_init, self.reduction_in(config)
        return [*super().determined_by(config), regressors, init, reduction]


class HintTerm(FeatureTerm):
    """The term of `Hint`."""

    def __init__(self, option: Hint, site: Site, links: list[Link]):
        super().__init__(option, site, links)
        assert site.teacher is not None
        reduction = option.reduction_in(site.config)
        self.reductions: dict[str, Reduction] = {
            link.name: "released_relu"  # the released code sums another axis if the hint layer is not maxout
            if reduction == "released" and site.teacher.layer_output(link.hint).activation.kind != "maxout"
            else reduction
            for link in self.links
        }
        self.described = ", ".join(self._in_words(site, link) for link in self.links)

    def _in_words(self, site: Site, link: Link) -> str:
        assert site.teacher is not None
        guided, hint = (
            "x".join(map(str, network.layer_output(layer).out_shape))
            for network, layer in ((site.student, link.guided), (site.teacher, link.hint))
        )
        regressor = self.regressor_of(link)
        assert regressor is not None
        return f"student {link.guided} ({guided}) learns teacher {link.hint} ({hint}) through {regressor.describe()}"

    def pair_loss(self, link: Link, student: Tensor, teacher: Tensor) -> Tensor:
        return hint_loss(student, teacher, self.reductions[link.name])

    def describe(self) -> str:
        return self.described
