"""A first layer that whitens patches of the images: its weights follow from the images and are not trained."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fitnets.models.layers import RELU, Layer

WHITENED_IMAGES = 2000
"""number of training images on which the weights are fitted, at most"""
_SMALL = 16
"""side of images, in pixels, below which they are padded"""
_REGULARIZER = 5e-4
"""added to the variances of the patches"""


class WhiteningLayer(Layer):
    """A convolution whose outputs are uncorrelated, with variance 1, on the images that it was fitted to; ReLU follows.
    Half of its filters are eigenvectors of the patches' covariance, and the others their negatives (Jordan, 2024). The
    weights stay as they were fitted; the biases are trained.

    in_shape: (C, H, W).
    channels: largest number of channels; there are at most two for each value of a patch.
    patch: stride of the convolution, whose kernel is one pixel wider and higher."""

    kind = "conv"
    activation = RELU

    def __init__(self, in_shape: tuple[int, int, int], channels: int, patch: int):
        super().__init__()
        values = in_shape[0] * (patch + 1) ** 2
        pairs = max(1, min(channels // 2, values))
        pad = 1 if min(in_shape[1:]) < _SMALL else 0
        self.conv = nn.Conv2d(in_shape[0], 2 * pairs, patch + 1, patch, padding=pad)
        self.conv.weight.requires_grad_(False)
        self.out_shape = (2 * pairs, *((size + 2 * pad - 1) // patch for size in in_shape[1:]))

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.conv(images))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Set the weights to the eigenvectors with the largest variances. images: (N, C, H, W), preprocessed."""
        patch, size = self.conv.stride[0], self.conv.kernel_size
        values, pairs = self.conv.weight[0].numel(), len(self.conv.weight) // 2
        total, count = torch.zeros(values, values, dtype=torch.float64, device=images.device), 0
        for some in torch.split(images, 500):
            patches = F.unfold(some, size, stride=patch).transpose(1, 2).reshape(-1, values).double()
            total += patches.T @ patches
            count += len(patches)
        variances, vectors = torch.linalg.eigh(total.cpu() / count)
        filters = (vectors / (variances + _REGULARIZER).sqrt()).T.flip(0)[:pairs]
        weight = torch.cat([filters, -filters]).view(self.conv.weight.shape)
        self.conv.weight.copy_(weight)
