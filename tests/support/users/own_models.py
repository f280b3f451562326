"""Models like those that users may have. No code of the project depends on them."""

from collections import namedtuple
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn


class Small(nn.Module):
    def __init__(self, classes: int = 10, width: int = 8, channels: int = 1):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images).relu()
        features = self.norm(self.second(features)).relu()
        return self.last(features.mean(dim=(2, 3)))


def small(classes: int = 10, width: int = 8, channels: int = 1) -> nn.Module:
    return Small(classes, width, channels)


class WrappedLogits(nn.Module):
    """`Small`, with its logits wrapped by the function `wrap`."""

    def __init__(self, wrap):
        super().__init__()
        self.small = Small()
        self.wrap = wrap

    def forward(self, images):
        return self.wrap(self.small(images))


def wrapped_logits(form: str) -> nn.Module:
    forms = {
        "nothing": lambda logits: None,
        "text": lambda logits: "three",
        "map": lambda logits: logits[:, :, None, None],
        "tuple": lambda logits: (logits, 3),
        "list": lambda logits: ["other", logits],
        "dict": lambda logits: {"features": logits.mean(1), "logits": logits},
        "odd_dict": lambda logits: {"features": logits.mean(1), "answer": logits},
        "only": lambda logits: {"answer": logits, "loss": None},
        "infinite": lambda logits: logits * torch.nan,
    }
    return WrappedLogits(forms[form])


def raising() -> nn.Module:
    raise ZeroDivisionError("by design")


def no_module() -> int:
    return 3


def without_parameters() -> nn.Module:
    return nn.Flatten()


def with_nan() -> nn.Module:
    model = Small()
    model.last.bias.data[3] = torch.nan
    return model


def vit(classes: int = 10, size: int = 8, channels: int = 1) -> nn.Module:
    """A small vision transformer of the `transformers` library, built from its configuration."""
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            image_size=size,
            patch_size=2,
            num_channels=channels,
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=3,
            intermediate_size=48,
            num_labels=classes,
        )
    )


def resnet(classes: int = 10, channels: int = 1) -> nn.Module:
    """A small residual network of the `transformers` library, built from its configuration."""
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=channels,
            embedding_size=8,
            hidden_sizes=[8, 16],
            depths=[1, 1],
            layer_type="basic",
            num_labels=classes,
        )
    )


class Viewing(nn.Module):
    """Flattens with `view`, which needs maps in channels-first layout, and has a module called `logits`."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(1, 6, 3, padding=1)
        self.logits = nn.Conv2d(6, 10, 1)
        self.last = nn.Linear(10 * 64, 10)

    def forward(self, images):
        maps = self.logits(self.maps(images).relu())
        return self.last(maps.view(maps.size(0), -1))


def viewing() -> nn.Module:
    return Viewing()


class Chancy(Small):
    """Leaves its second layer out in training mode."""

    def forward(self, images):
        if not self.training:
            return super().forward(images)
        return self.last(self.norm(self.first(images)).mean(dim=(2, 3)))


def chancy() -> nn.Module:
    return Chancy()


class Choosy(Small):
    """Cannot be trained without labels."""

    def forward(self, images, labels=None):
        if self.training and labels is None:
            raise ValueError("labels are needed")
        return super().forward(images)


def choosy() -> nn.Module:
    return Choosy()


def frozen(up_to_second: bool = False) -> nn.Module:
    model = Small()
    model.requires_grad_(False)
    if up_to_second:
        model.last.requires_grad_(True)
    return model


def averaging() -> nn.Module:
    return WrappedLogits(lambda logits: logits.mean(0, keepdim=True))


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


def half() -> nn.Module:
    return Small().half()


def drawn_by_numpy() -> nn.Module:
    model = Small()
    model.last.bias.data = torch.from_numpy(np.random.normal(size=10)).float()
    return model


class Functional(nn.Module):
    """Has no modules."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 64))

    def forward(self, images):
        return images.flatten(1) @ self.weight.T


def functional() -> nn.Module:
    return Functional()


Named = namedtuple("Named", ["auxiliary", "scores"])


def named() -> nn.Module:
    return WrappedLogits(lambda logits: Named(logits.mean(1), logits))


partial_small = partial(Small, 10, 8)


def branching() -> nn.Module:
    """A model whose computation depends on the values of the images."""
    return WrappedLogits(lambda logits: logits if logits.sum().item() > 1e9 else 2 * logits)
