"""What is done to images once, before training: the paper's section 3 and the maxout recipes.

Every function takes and gives (N, C, H, W) float32. `fit` sees training images alone.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.config import LocalContrast, Preprocessing, Scale, Standardize, Whiten

FittedPreprocessing = dict[str, Tensor]
"""What was learnt from the training images, by name; empty where there is nothing to learn"""


def is_fitted(preprocessing: Preprocessing) -> bool:
    """Whether it learns something from the training images."""
    return isinstance(preprocessing, Standardize | Whiten)


def fit(preprocessing: Preprocessing, chunks: Callable[[], Iterable[Tensor]]) -> FittedPreprocessing:
    """chunks: gives an iterator over the training images in [0, 1], as often as it is called."""
    match preprocessing:
        case Scale() | LocalContrast():
            return {}
        case Standardize():
            return _channel_moments(chunks)
        case Whiten(contrast=contrast, regularizer=regularizer):
            return fit_zca(lambda: (global_contrast(images, contrast) for images in chunks()), regularizer)


_RECORDED = 1000


def recordable(fitted: FittedPreprocessing) -> dict[str, list[float]] | None:
    """The fitted values as numbers for a run's record, so that its network can be used without its training images;
    None where they are too many (the matrix of `Whiten`). They keep every bit."""
    if sum(values.numel() for values in fitted.values()) > _RECORDED:
        return None
    return {name: values.tolist() for name, values in fitted.items()}


def recorded(values: dict[str, list[float]]) -> FittedPreprocessing:
    """The inverse of `recordable`."""
    return {name: torch.tensor(numbers, dtype=torch.float32) for name, numbers in values.items()}


def apply(preprocessing: Preprocessing, fitted: FittedPreprocessing, images: Tensor) -> Tensor:
    """images: in [0, 1]. fitted: from `fit` of the same preprocessing."""
    match preprocessing:
        case Scale():
            return images
        case Standardize():
            return (images - fitted["mean"].view(1, -1, 1, 1)) / fitted["deviation"].view(1, -1, 1, 1)
        case Whiten(contrast=contrast):
            return whiten(fitted, global_contrast(images, contrast))
        case LocalContrast(contrast=contrast) as local:
            return local_contrast(global_contrast(images, contrast), local)


def _channel_moments(chunks: Callable[[], Iterable[Tensor]]) -> FittedPreprocessing:
    sums = [
        torch.stack([images.double().sum((0, 2, 3)), images.double().square().sum((0, 2, 3))]) for images in chunks()
    ]
    count = sum(images[:, 0].numel() for images in chunks())
    mean, square = torch.stack(sums).sum(0) / count
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return {"mean": mean.float(), "deviation": deviation.clamp(min=1e-6).float()}


def global_contrast(images: Tensor, norm: float) -> Tensor:
    """Each image minus its mean, over all channels, scaled to this L2 norm. A constant image becomes zeros."""
    centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
    lengths = centred.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.where(lengths > 1e-6, norm * centred / lengths.clamp(min=1e-6), torch.zeros_like(centred))


def fit_zca(chunks: Callable[[], Iterable[Tensor]], regularizer: float) -> FittedPreprocessing:
    """W = U diag(1 / sqrt(e)) U^T, where U diag(e) U^T = cov(X) + regularizer I over flattened images; in float64."""
    count = sum(len(images) for images in chunks())
    total = sum(images.flatten(1).double().sum(0) for images in chunks())
    assert isinstance(total, Tensor)
    mean = total / count
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for images in chunks():
        centred = images.flatten(1).double() - mean
        covariance.addmm_(centred.T, centred, alpha=1 / count)
    covariance.diagonal().add_(regularizer)
    values, vectors = torch.linalg.eigh(covariance)
    whitening = (vectors / values.sqrt()) @ vectors.T
    return {"mean": mean.float(), "whitening": whitening.float()}


def whiten(fitted: FittedPreprocessing, images: Tensor) -> Tensor:
    return ((images.flatten(1) - fitted["mean"]) @ fitted["whitening"]).view_as(images)


def local_contrast(images: Tensor, local: LocalContrast) -> Tensor:
    """LeCun's: each pixel minus the Gaussian-weighted mean around it, divided by the larger of the weighted deviation
    around it (the root of the mean square) and that deviation's mean over the image, and at least by the threshold;
    each channel by itself, zeros beyond the edge."""
    normalised = images if local.channels == "all" else images[:, :1]
    height, width = images.shape[2:]
    planes = normalised.reshape(-1, 1, height, width)
    window = _gaussian(local.window, local.sigma)
    centred = planes - F.conv2d(planes, window, padding="same")
    spread = planes if local.divisor == "image" else centred
    deviation = F.conv2d(spread.square(), window, padding="same").sqrt()
    divisor = torch.maximum(deviation, deviation.mean(dim=(2, 3), keepdim=True)).clamp(min=local.threshold)
    result = (centred / divisor).view_as(normalised)
    return torch.cat([result, images[:, normalised.shape[1] :]], dim=1)


def _gaussian(size: int, sigma: float) -> Tensor:
    """(1, 1, size, size), of sum 1."""
    offsets = torch.arange(size, dtype=torch.float32) - size // 2
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    window = line[:, None] * line
    return (window / window.sum()).view(1, 1, size, size)
