"""Images that are mixed in pairs: mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019).

Partner, share and box of an image follow from the seed, the view and its row, so the teacher's outputs for mixed images
can be cached.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fitnets.config import Augmentation
from fitnets.data.random_numbers import integers, uniform


@dataclass(frozen=True, slots=True)
class Mixture:
    """The labels and shares of the images that are mixed into a batch."""

    labels: Tensor
    """(N,): label of each image's partner"""
    share: Tensor
    """(N,) float32: share of each image itself; the rest is its partner's"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How images are mixed with their partners.

    share: (N,) float64, share of each image itself.
    boxes: (N, 4), top, left, bottom and right of the part that shows the partner; empty boxes for mixup.
    is_cut: (N,), True for CutMix, False for mixup."""

    share: Tensor
    boxes: Tensor
    is_cut: Tensor


def partners(rows: Tensor, view: int, pool: Tensor, seed: int) -> Tensor:
    """(N,): the row of each image's partner, drawn from the rows of the pool."""
    return pool[integers(rows, view, seed, "partner", len(pool))]


def recipe(rows: Tensor, view: int, augmentation: Augmentation, shape: tuple[int, int], seed: int) -> Recipe:
    """Draw how images are mixed. If an augmentation has both kinds, each image gets one of them at random.

    rows: (N,), row of each image in its data set.
    shape: (H, W) of the images."""
    which = uniform(rows, view, seed, "mixup or cutmix", 1)[:, 0] < 0.5
    has = (augmentation.mixup > 0, augmentation.cutmix > 0)
    is_cut = which if all(has) else torch.full_like(which, has[1])
    drawn = uniform(rows, view, seed, "share", 1)[:, 0]
    share = torch.where(is_cut, _beta(drawn, augmentation.cutmix), _beta(drawn, augmentation.mixup))
    places = uniform(rows, view, seed, "centre", 2)
    centre = (places * torch.tensor(shape, device=rows.device)).long()
    boxes = cut_boxes(share, centre, shape)
    boxes = torch.where(is_cut[:, None], boxes, 0)
    return Recipe(torch.where(is_cut, _share_beside(boxes, shape), share), boxes, is_cut)


def _beta(drawn: Tensor, alpha: float) -> Tensor:
    """Quantiles of the beta distribution with both parameters alpha; ones for alpha 0. drawn: in [0, 1)."""
    if alpha == 0:
        return torch.ones_like(drawn)
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, drawn.cpu().numpy())).to(drawn)


def cut_boxes(share: Tensor, centre: Tensor, shape: tuple[int, int]) -> Tensor:
    """(N, 4): boxes of the area 1 - share around centres, cut off at the edges of the images.

    share: (N,). centre: (N, 2), line and column. shape: (H, W) of the images."""
    size = torch.tensor(shape, device=share.device)
    half = (0.5 * (1 - share).sqrt()[:, None] * size).long()
    return torch.cat([(centre - half).clamp(min=0), torch.minimum(centre + half, size)], dim=1)


def _share_beside(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """(N,) float64: the share of each image that lies beside its box."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return 1 - area.double() / (shape[0] * shape[1])


def mixed(images: Tensor, others: Tensor, how: Recipe) -> Tensor:
    """(N, C, H, W) uint8: images with parts of their partners.

    images, others: (N, C, H, W) uint8."""
    share = how.share.view(-1, 1, 1, 1)
    blended = (share * images + (1 - share) * others + 0.5).floor().to(torch.uint8)
    y = torch.arange(images.shape[2], device=images.device)[:, None]
    x = torch.arange(images.shape[3], device=images.device)
    top, left, bottom, right = (side[:, None, None] for side in how.boxes.T)
    is_inside = ((y >= top) & (y < bottom) & (x >= left) & (x < right))[:, None]
    return torch.where(how.is_cut.view(-1, 1, 1, 1), torch.where(is_inside, others, images), blended)
