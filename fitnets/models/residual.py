"""Layers of residual networks for small images: stem, blocks and output."""

import torch.nn.functional as F
from torch import Tensor, nn

from fitnets.models.layers import LINEAR, RELU, Layer


def _conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)


def _strided(in_shape: tuple[int, ...], channels: int, stride: int) -> tuple[int, ...]:
    return (channels, *(-(-size // stride) for size in in_shape[1:]))


class PadShortcut(nn.Module):
    """Subsamples the map and adds channels of zeros (He et al., 2016, option A, without parameters)."""

    def __init__(self, extra_channels: int, stride: int):
        super().__init__()
        self.extra_channels = extra_channels
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        return F.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))


class Stem(Layer):
    """The first 3x3 convolution.

    normalized: whether batch normalisation and ReLU follow."""

    kind = "conv"

    def __init__(self, in_shape: tuple[int, int, int], channels: int, *, normalized: bool):
        super().__init__()
        self.conv = _conv3x3(in_shape[0], channels)
        self.norm = nn.BatchNorm2d(channels) if normalized else nn.Identity()
        self.activation = RELU if normalized else LINEAR
        self.out_shape = _strided(in_shape, channels, stride=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(images)))


class ResidualBlock(Layer):
    """Two 3x3 convolutions with batch normalisation, added to their input; ReLU follows (He et al., 2016).

    pad_shortcut: whether a shortcut between different shapes pads with zeros, instead of a 1x1 convolution."""

    kind = "block"
    activation = RELU

    def __init__(self, in_shape: tuple[int, ...], channels: int, stride: int, *, pad_shortcut: bool):
        super().__init__()
        in_channels = in_shape[0]
        self.conv1, self.norm1 = _conv3x3(in_channels, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = _conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if (in_channels, stride) != (channels, 1):
            self.shortcut = (
                PadShortcut(channels - in_channels, stride)
                if pad_shortcut
                else nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
            )
        self.out_shape = _strided(in_shape, channels, stride)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.norm1(self.conv1(images)))
        return F.relu(self.norm2(self.conv2(features)) + self.shortcut(images))


class PreActivationBlock(Layer):
    """Batch normalisation and ReLU before each of two 3x3 convolutions, added to their input.

    It is the block of wide residual networks (Zagoruyko and Komodakis, 2016)."""

    kind = "block"
    activation = LINEAR

    def __init__(self, in_shape: tuple[int, ...], channels: int, stride: int):
        super().__init__()
        in_channels = in_shape[0]
        self.norm1, self.conv1 = nn.BatchNorm2d(in_channels), _conv3x3(in_channels, channels, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(channels), _conv3x3(channels, channels)
        same = (in_channels, stride) == (channels, 1)
        self.shortcut = None if same else nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.out_shape = _strided(in_shape, channels, stride)

    def forward(self, images: Tensor) -> Tensor:
        active = F.relu(self.norm1(images))
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return residual + (images if self.shortcut is None else self.shortcut(active))


class PoolingBlock(Layer):
    """Two 3x3 convolutions with batch normalisation and ReLU. Pooling halves the map after the first one, and the
    output of the second is added to its input."""

    kind = "block"
    activation = RELU

    def __init__(self, in_shape: tuple[int, ...], channels: int):
        super().__init__()
        self.conv1, self.norm1 = _conv3x3(in_shape[0], channels), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = _conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.out_shape = (channels, *(size // 2 for size in in_shape[1:]))

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.norm1(F.max_pool2d(self.conv1(images), 2)))
        return features + F.relu(self.norm2(self.conv2(features)))


class PooledSoftmaxLayer(Layer):
    """Gives the logits from the mean of each channel: (N, C, H, W) -> (N, classes).

    normalized: whether batch normalisation and ReLU come before the mean."""

    kind = "softmax"
    activation = LINEAR

    def __init__(self, in_shape: tuple[int, ...], classes: int, *, normalized: bool):
        super().__init__()
        self.norm = nn.Sequential(nn.BatchNorm2d(in_shape[0]), nn.ReLU()) if normalized else nn.Identity()
        self.linear = nn.Linear(in_shape[0], classes)
        self.out_shape = (classes,)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(features).mean(dim=(2, 3)))
        return logits
