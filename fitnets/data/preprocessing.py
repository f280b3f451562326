"""Preprocessing of images, once, before training: section 3 of the paper and the maxout recipes.

Images are (N, C, H, W) float32 in every function. `fit` uses training images only.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from fitnets.config import LocalContrast, Preprocessing, Scale, Standardize, Whiten

FittedPreprocessing = dict[str, Tensor]
"""Values fitted on the training images, by name; empty for preprocessing that fits nothing"""


def is_fitted(preprocessing: Preprocessing) -> bool:
    """True if the preprocessing is fitted on the training images."""
    return isinstance(preprocessing, Standardize | Whiten)


def is_elementwise(preprocessing: Preprocessing) -> bool:
    """True if each preprocessed value follows from one pixel value and its channel."""
    return isinstance(preprocessing, Scale | Standardize)


def table(preprocessing: Preprocessing, fitted: FittedPreprocessing, pixel_max: float, channels: int) -> Tensor:
    """(channels, 256) float32: what elementwise preprocessing makes of each pixel value.

    fitted: result of `fit` for the same preprocessing.
    pixel_max: raw pixel value that becomes 1.0."""
    values = torch.arange(256, dtype=torch.float32) / pixel_max
    return apply(preprocessing, fitted, values.repeat(1, channels, 1, 1)).view(channels, 256)


def fit_counts(preprocessing: Preprocessing, counts: Tensor, pixel_max: float) -> FittedPreprocessing:
    """Fit elementwise preprocessing on the training images.

    counts: (C, 256), number of pixels of each value in each channel.
    pixel_max: raw pixel value that becomes 1.0."""
    if not isinstance(preprocessing, Standardize):
        return {}
    values, counts = (torch.arange(256, dtype=torch.float32) / pixel_max).double(), counts.double()
    mean = counts @ values / counts.sum(dim=1)
    square = counts @ values.square() / counts.sum(dim=1)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return {"mean": mean.float(), "deviation": deviation.clamp(min=1e-6).float()}


def fit(preprocessing: Preprocessing, chunks: Callable[[], Iterable[Tensor]]) -> FittedPreprocessing:
    """Fit preprocessing that is not elementwise on the training images.

    chunks: returns a new iterator over the training images in [0, 1] at every call."""
    if not isinstance(preprocessing, Whiten):
        return {}
    contrast = preprocessing.contrast
    return fit_zca(lambda: (global_contrast(images, contrast) for images in chunks()), preprocessing.regularizer)


_RECORDED = 1000
"""largest number of values that a run records"""


def to_json(fitted: FittedPreprocessing) -> dict[str, list[float]] | None:
    """The fitted values as numbers for result.json, so that the network can be used without its training images. Every
    bit is kept. None if the values are too many, as in the matrix of `Whiten`."""
    if sum(values.numel() for values in fitted.values()) > _RECORDED:
        return None
    return {name: values.tolist() for name, values in fitted.items()}


def from_json(values: dict[str, list[float]]) -> FittedPreprocessing:
    """The fitted values from the numbers that `to_json` returned."""
    return {name: torch.tensor(numbers, dtype=torch.float32) for name, numbers in values.items()}


def apply(preprocessing: Preprocessing, fitted: FittedPreprocessing, images: Tensor) -> Tensor:
    """Preprocess images.

    fitted: result of `fit` for the same preprocessing.
    images: pixels in [0, 1]."""
    match preprocessing:
        case Scale():
            return images
        case Standardize():
            return (images - fitted["mean"].view(1, -1, 1, 1)) / fitted["deviation"].view(1, -1, 1, 1)
        case Whiten(contrast=contrast):
            return whiten(fitted, global_contrast(images, contrast))
        case LocalContrast(contrast=contrast) as local:
            return local_contrast(global_contrast(images, contrast), local)


def global_contrast(images: Tensor, norm: float) -> Tensor:
    """Subtract from each image its mean over all channels, and scale it to an L2 norm. Constant images become zeros."""
    centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
    lengths = centred.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return torch.where(lengths > 1e-6, norm * centred / lengths.clamp(min=1e-6), torch.zeros_like(centred))


def fit_zca(chunks: Callable[[], Iterable[Tensor]], regularizer: float) -> FittedPreprocessing:
    """Fit ZCA whitening over flattened images, in float64.

    W = U diag(1 / sqrt(e)) U^T, where U diag(e) U^T = cov(X) + regularizer I."""
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
    """(x - mean) W for each flattened image x. fitted: result of `fit_zca`."""
    return ((images.flatten(1) - fitted["mean"]) @ fitted["whitening"]).view_as(images)


def local_contrast(images: Tensor, local: LocalContrast) -> Tensor:
    """LeCun's local contrast normalisation, for each channel by itself, with zeros beyond the edge.

    The Gaussian-weighted mean around a pixel is subtracted from it. The result is divided by the largest of three
    values: the weighted root mean square around the pixel, its mean over the image, and the threshold.

    local.divisor: take the root mean square of the image, or of the centred image.
    local.channels: normalise all channels, or the first alone."""
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
    """A Gaussian window of shape (1, 1, size, size) whose sum is 1."""
    offsets = torch.arange(size, dtype=torch.float32) - size // 2
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    window = line[:, None] * line
    return (window / window.sum()).view(1, 1, size, size)
