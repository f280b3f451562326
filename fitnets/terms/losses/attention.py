"""Attention transfer (Zagoruyko and Komodakis, 2017)."""

from torch import Tensor

from fitnets.config.options import AT_LEAST_0, bounded
from fitnets.terms.geometry import as_map, same_size, unit
from fitnets.terms.loss import FeatureLoss, Weight, loss


def attention(maps: Tensor) -> Tensor:
    """Return the attention of each image: the sum over channels of squares, as a unit vector. (N, C, H, W) -> (N, H W).

    The sum and the mean over channels are the same after scaling to norm 1."""
    return unit(maps.square().sum(dim=1).flatten(1))


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over images and positions of the squared difference of the attention maps, as in the authors'
    code; the paper writes their distance.

    student, teacher: maps, tokens or units. The larger map is average-pooled to the size of the smaller one; tokens
    are a grid without its class tokens. Of a 1x1 map or of units the attention is always 1, and the loss 0."""
    maps = same_size(*(as_map(features, tuple(features.shape[1:])) for features in (student, teacher)))
    return (attention(maps[0]) - attention(maps[1])).square().mean()


@loss
class Attention(FeatureLoss):
    """Attention transfer at each pair of layers, usually the ends of the groups. The weight is the authors' beta / 2 of
    1000. It depends on the size of the map, because the loss is a mean over its positions."""

    weight: Weight = bounded(AT_LEAST_0, default=1000.0)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return attention_loss(student, teacher)

    def describe(self) -> str:
        return "attention maps"
