"""Preprocessing equals slow float64 references that are written from its definition."""

import math

import numpy as np
import pytest
import torch

from fitnets.composition import loading
from fitnets.config import LocalContrast, Standardize, Whiten
from fitnets.data import preprocessing
from support.datasets import fitted


def images(count: int, channels: int = 3, side: int = 9, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def option(name: str):
    return loading.load([f"dataset/preprocessing={name}"]).dataset.preprocessing


def in_chunks(whole: torch.Tensor):
    return lambda: whole.split(7)


class TestGlobalContrast:
    def test_equals_the_reference(self):
        original = images(5)
        expected = np.empty(original.shape)
        for number, image in enumerate(original.double().numpy()):
            centred = image - image.mean()
            expected[number] = 55 * centred / math.sqrt(sum(value**2 for value in centred.flat))
        np.testing.assert_allclose(preprocessing.global_contrast(original, 55).numpy(), expected, rtol=1e-4, atol=1e-5)

    def test_does_not_depend_on_the_scale_of_the_pixels(self):
        original = images(5)
        torch.testing.assert_close(
            preprocessing.global_contrast(255 * original, 1), preprocessing.global_contrast(original, 1)
        )

    def test_a_constant_image_becomes_zeros(self):
        assert not preprocessing.global_contrast(torch.full((1, 3, 4, 4), 0.7), 55).any()


class TestLocalContrast:
    @pytest.mark.parametrize("channels", ["all", "first"])
    @pytest.mark.parametrize("divisor", ["image", "centred"])
    def test_equals_the_reference(self, channels, divisor):
        original = images(3)
        local = LocalContrast(contrast=1, window=7, sigma=2, threshold=1e-4, divisor=divisor, channels=channels)
        result = preprocessing.local_contrast(original, local).numpy()
        expected = original.double().numpy().copy()
        for image in expected:
            for channel in range(3 if channels == "all" else 1):
                image[channel] = self.reference(image[channel], divisor)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)

    def reference(self, plane: np.ndarray, divisor: str) -> np.ndarray:
        """Normalise one plane, pixel by pixel."""
        weights = {(i, j): math.exp(-(i * i + j * j) / 8) for i in range(-3, 4) for j in range(-3, 4)}
        total = sum(weights.values())

        def weighted(values: np.ndarray, row: int, column: int) -> float:
            inside = (
                weight / total * values[row + i, column + j]
                for (i, j), weight in weights.items()
                if 0 <= row + i < values.shape[0] and 0 <= column + j < values.shape[1]
            )
            return sum(inside)

        positions = [(row, column) for row in range(plane.shape[0]) for column in range(plane.shape[1])]
        centred, deviation = np.empty(plane.shape), np.empty(plane.shape)
        for position in positions:
            centred[position] = plane[position] - weighted(plane, *position)
        for position in positions:
            deviation[position] = math.sqrt(weighted((plane if divisor == "image" else centred) ** 2, *position))
        return centred / np.maximum(np.maximum(deviation, deviation.mean()), 1e-4)

    def test_svhn_is_configured_with_local_contrast(self):
        local = loading.load(["dataset=svhn"]).dataset.preprocessing
        assert local == LocalContrast(contrast=1, window=7, sigma=2, threshold=1e-4, divisor="image", channels="all")


class TestZca:
    def test_output_covariance_on_held_out_data_follows_the_formula(self):
        """cov(W x) = W C W = U diag(c / (c + r)) U^T for data of known covariance C = U diag(c) U^T."""
        generator = torch.Generator().manual_seed(0)
        shape, size, regularizer = (3, 2, 2), 12, 0.1
        basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator)).Q
        variances = torch.logspace(-2, 1, size, dtype=torch.float64)
        root = basis * variances.sqrt() @ basis.T
        fitted_on, held_out = (
            (torch.randn(60_000, size, dtype=torch.float64, generator=generator) @ root + 0.3).float().view(-1, *shape)
            for _ in range(2)
        )
        fitted = preprocessing.fit_zca(in_chunks(fitted_on), regularizer)
        whitened = preprocessing.whiten(fitted, held_out).flatten(1).double()
        expected = basis * (variances / (variances + regularizer)) @ basis.T
        assert (torch.cov(whitened.T) - expected).abs().max().item() < 0.02
        assert whitened.mean(0).abs().max().item() < 0.02

    def test_transform_is_the_symmetric_root_of_the_regularised_covariance(self):
        original = images(50, side=3).double()
        fitted = preprocessing.fit_zca(in_chunks(original.float()), 0.1)
        flat = original.flatten(1).numpy()
        covariance = np.cov(flat.T, bias=True) + 0.1 * np.eye(27)
        whitening = fitted["whitening"].double().numpy()
        np.testing.assert_allclose(whitening @ covariance @ whitening, np.eye(27), atol=1e-4)
        np.testing.assert_allclose(whitening, whitening.T, atol=1e-6)
        np.testing.assert_allclose(fitted["mean"].numpy(), flat.mean(0), rtol=1e-5)

    def test_cifar_is_configured_with_whitening(self):
        for dataset in ("cifar10", "cifar100"):
            assert loading.load([f"dataset={dataset}"]).dataset.preprocessing == Whiten(contrast=55, regularizer=0.1)

    def test_contrast_comes_before_whitening(self):
        original, others = images(40, side=4), images(5, side=4, seed=1)
        whole = option("whiten")
        fitted = preprocessing.fit(whole, in_chunks(original))
        contrasted = preprocessing.global_contrast(original, 55)
        expected = preprocessing.fit_zca(in_chunks(contrasted), 0.1)
        torch.testing.assert_close(fitted["whitening"], expected["whitening"])
        torch.testing.assert_close(
            preprocessing.apply(whole, fitted, others),
            preprocessing.whiten(expected, preprocessing.global_contrast(others, 55)),
        )


def test_standardised_channels_have_mean_0_and_variance_1():
    pixels = (images(40) * torch.tensor([255.0, 200.0, 20.0]).view(1, 3, 1, 1)).clamp(0, 255).byte()
    result = (
        preprocessing.apply(Standardize(), fitted(Standardize(), pixels), pixels.float() / 255)
        .transpose(0, 1)
        .flatten(1)
    )
    torch.testing.assert_close(result.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_scale_leaves_pixels_between_0_and_1_as_they_are():
    original = images(3)
    assert torch.equal(
        preprocessing.apply(option("scale"), preprocessing.fit(option("scale"), in_chunks(original)), original),
        original,
    )
