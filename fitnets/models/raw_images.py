"""A network behind the preprocessing of its images: it takes raw images, as an exported file does."""

import torch
from torch import Tensor, nn

from fitnets.config import Dataset, image_shape
from fitnets.data import preprocessing
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.models.network import Network

_EXAMPLES = 2
"""Batch size for tracing. With a batch of one, the exporter would fix the batch size at 1."""


class WithPreprocessing(nn.Module):
    """Maps raw images (N, C, H, W), uint8, to logits (N, classes).

    fitted: values that the preprocessing learnt, such as the mean image
    """

    def __init__(self, network: Network, dataset: Dataset, fitted: FittedPreprocessing):
        super().__init__()
        self.network = network
        self.pixel_max = dataset.pixel_max
        self.preprocessing = dataset.preprocessing
        self.image_shape = image_shape(dataset)
        for name, values in fitted.items():
            self.register_buffer(name, values)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.prepared(images.float() / self.pixel_max))[0]
        return logits

    def prepared(self, scaled: Tensor) -> Tensor:
        """Preprocess images. scaled: (N, C, H, W), pixels from 0 to 1."""
        fitted = {name: values.float() for name, values in self.named_buffers(recurse=False)}
        return preprocessing.apply(self.preprocessing, fitted, scaled)

    def example(self, count: int = _EXAMPLES) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        size = (count, *self.image_shape)
        return torch.randint(0, int(self.pixel_max) + 1, size, dtype=torch.uint8, generator=generator)


class NetworkOnly(nn.Module):
    """Maps preprocessed images (N, C, H, W) to logits (N, classes), to compare the speed of networks alone."""

    def __init__(self, network: Network, image_shape: tuple[int, int, int]):
        super().__init__()
        self.network = network
        self.image_shape = image_shape

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits

    def example(self, count: int = _EXAMPLES) -> Tensor:
        return torch.rand(count, *self.image_shape, generator=torch.Generator().manual_seed(0))
