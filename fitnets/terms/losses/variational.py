"""Variational information distillation (Ahn et al., 2019)."""

import math
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fitnets.config import Config
from fitnets.models import layer_pairs
from fitnets.models.hint_pair import Link
from fitnets.models.layers import Regressor
from fitnets.models.network import place_like
from fitnets.terms.loss import FeatureLoss, FeatureTerm, Site, Term, loss

_LEAST_VARIANCE = 1e-5
_FIRST_VARIANCE = 5.0


class Gaussian(nn.Module):
    """Predicts the teacher's features: a regressor gives the mean, and each channel has a variance that is learnt.

    The variance is softplus(raw) + 1e-5, and 5 before training."""

    kind: ClassVar[str] = "regressor"

    def __init__(self, regressor: Regressor):
        super().__init__()
        self.mean = regressor
        shape = regressor.hint_shape
        channels = shape[-1] if len(shape) == 2 else shape[0]  # the channels of tokens (T, D) come last
        start = math.log(math.expm1(_FIRST_VARIANCE - _LEAST_VARIANCE))
        self.raw_variance = nn.Parameter(torch.full((channels,), start))

    @property
    def variance(self) -> Tensor:
        """The variance of each channel, in a shape that fits the features: (C,), (C, 1, 1), or (D,) for tokens."""
        variance = F.softplus(self.raw_variance.float()) + _LEAST_VARIANCE
        return variance.view(-1, 1, 1) if len(self.mean.hint_shape) == 3 else variance

    def forward(self, guided: Tensor) -> Tensor:
        mean: Tensor = self.mean(guided)
        return mean


def variational_loss(mean: Tensor, variance: Tensor, hint: Tensor) -> Tensor:
    """Return the mean over images, channels and positions of 0.5 ((mean - t)^2 / variance + log variance).

    It is the negative log-likelihood without its constant, and is negative where the variance is small.

    mean, hint: (N, ...) of the same shape.
    variance: of a shape that fits those of one image."""
    return 0.5 * ((mean - hint).square() / variance + variance.log()).mean()


@loss
class Variational(FeatureLoss):
    """The likelihood of the teacher's features, given the student's, at each pair of layers. The mean comes from the
    configured regressor, and each channel has one variance. The usual weight is 1. The loss may be negative."""

    def build(self, site: Site) -> Term:
        return VariationalTerm(self, site, site.links())

    def head(self, site: Site, link: Link) -> nn.Module:
        return place_like(site.student, Gaussian(site.regressor(link)))

    def determined_by(self, config: Config) -> list[Any]:
        regressors = layer_pairs.resolved_regressors(config)
        return [*super().determined_by(config), regressors, config.schedule.regressor_init]

    def describe(self) -> str:
        return "likelihood of the teacher's features"


class VariationalTerm(FeatureTerm):
    """The term of `Variational`."""

    def pair_loss(self, link: Link, student: Tensor, teacher: Tensor) -> Tensor:
        return variational_loss(student, cast(Gaussian, self.head_of[link.name]).variance, teacher)

    def regressor_of(self, link: Link) -> Regressor:
        return cast(Gaussian, self.head_of[link.name]).mean
