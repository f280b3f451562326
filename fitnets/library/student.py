"""A finished student as a module that takes raw images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fitnets.config import Dataset
from fitnets.data import image_files
from fitnets.errors import ConfigError
from fitnets.models.network import Network
from fitnets.models.raw_images import WithPreprocessing

Images = Any
"""uint8 images (N, C, H, W) or (C, H, W), a Pillow image, or a list of Pillow images"""


class Student(nn.Module):
    """A trained student with the preprocessing of its images, in evaluation mode. `fitnets.load` makes it.

    classes: the name of each class, or its number if the data set names none, in the order of the logits
    folder: the folder that it was loaded from
    values: the content of its run's result.json"""

    def __init__(
        self,
        network: WithPreprocessing,
        dataset: Dataset,
        *,
        classes: Sequence[str],
        folder: Path,
        values: Mapping[str, Any],
        card: Callable[[], str],
    ):
        super().__init__()
        self.network = network
        self.dataset = dataset
        self.classes = list(classes)
        self.folder = folder
        self.values = dict(values)
        self._card = card
        self.eval()

    @property
    def card(self) -> str:
        """The model card, in Markdown."""
        return self._card()

    @property
    def layers(self) -> list[str]:
        """Names of the layers whose outputs `features` can return, in order."""
        return self._trained.hint_layer_names

    def forward(self, images: Images) -> Tensor:
        """Return the logits, (N, classes) in fp32.

        images: uint8 (N, C, H, W) or (C, H, W), a Pillow image, or a list of Pillow images. Pillow images are turned
            upright, laid on white, resized and cropped as image files are.

        Raises ConfigError for images of another type or shape."""
        logits: Tensor = self._trained(self._prepared(images))[0]
        return logits

    def features(self, images: Images, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the outputs of hidden layers, by name, for images as in `forward`.

        layers: names of layers; None: all of them

        Raises ConfigError for a layer that the student does not have."""
        wanted = self.layers if layers is None else list(layers)
        if unknown := [name for name in wanted if name not in self.layers]:
            raise ConfigError(f"no layer {unknown[0]!r}: the student's layers are {', '.join(self.layers)}")
        features: dict[str, Tensor] = self._trained(self._prepared(images), wanted)[1]
        return features

    @property
    def _trained(self) -> Network:
        return self.network.network

    def _prepared(self, images: Images) -> Tensor:
        """(N, C, H, W): preprocessed images, on the student's device and in its number format."""
        weights = next(self.parameters())
        if isinstance(images, Tensor) or hasattr(images, "__array__") and hasattr(images, "dtype"):
            raw = images if isinstance(images, Tensor) else torch.from_numpy(images)
            scaled = self._checked(raw).to(weights.device).float() / self.dataset.pixel_max
        else:
            scaled = self._pictures(images).to(weights.device).float() / 255
        return self.network.prepared(scaled).to(weights.dtype)

    def _checked(self, images: Tensor) -> Tensor:
        dataset = self.dataset
        shape = (dataset.channels, dataset.height, dataset.width)
        expected = f"uint8 images of shape (N, {', '.join(map(str, shape))}) or {shape}, channels first"
        if images.dtype != torch.uint8:
            raise ConfigError(
                f"images are {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}: give {expected}, with "
                f"pixels from 0 to {dataset.pixel_max:g}: they are preprocessed here"
            )
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or tuple(images.shape[1:]) != shape or len(images) == 0:
            raise ConfigError(f"images have shape {tuple(images.shape)}: give {expected}")
        return images

    def _pictures(self, images: Images) -> Tensor:
        """(N, C, H, W) uint8, 0 to 255: the pixels of Pillow images."""
        from PIL.Image import Image

        pictures = list(images) if isinstance(images, list | tuple) else [images]
        if not pictures:
            raise ConfigError("the list of images is empty: give at least one image")
        for picture in pictures:
            if not isinstance(picture, Image):
                raise ConfigError(
                    f"images hold a {type(picture).__name__}: give a uint8 tensor (N, C, H, W), a Pillow image, or a "
                    "list of Pillow images"
                )
        pixels = [torch.from_numpy(image_files.pixels(self.dataset, cast(Any, picture))) for picture in pictures]
        return torch.stack(pixels)
