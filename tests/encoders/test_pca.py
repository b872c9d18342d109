"""Principal components: scikit-learn's, whatever the number and the size of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from gpu_ssl.config import LearningConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders import pca
from gpu_ssl.encoders.encoder import encode
from gpu_ssl.encoders.fitting import Training, TrainingImages
from tests.encoders import CPU, fitted, photographs


def points_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.reshape(len(pixels), -1).astype(np.float32) / 255


def test_features_are_those_of_scikit_learns_transform(digits: Dataset, tmp_path: Path) -> None:
    """Only the mean and the components are saved; encoding does not need scikit-learn."""
    encoder = fitted(digits.train.images, tmp_path, "pca")["pca"]
    features = encode(encoder, torch.from_numpy(digits.test.images)).numpy()
    theirs = PCA(50, svd_solver="covariance_eigh").fit(points_of(digits.train.images))
    np.testing.assert_allclose(features, theirs.transform(points_of(digits.test.images)), atol=1e-4)
    # Components are determined up to their sign.
    full = PCA(50, svd_solver="full").fit(points_of(digits.train.images).astype(np.float64))
    expected = full.transform(points_of(digits.test.images))
    np.testing.assert_allclose(abs(features[:, :40]), abs(expected[:, :40]), atol=1e-3)


def test_colour_images_have_the_components_of_all_channels(tmp_path: Path) -> None:
    images = photographs(16)[::3]
    encoder = fitted(images, tmp_path, "pca")["pca"]
    features = encode(encoder, torch.from_numpy(images)).numpy()
    expected = (
        PCA(50, svd_solver="full").fit(points_of(images).astype(np.float64)).transform(points_of(images))
    )
    np.testing.assert_allclose(abs(features[:, :20]), abs(expected[:, :20]), atol=2e-3)


@pytest.mark.parametrize(("n", "width"), [(30, 30), (8, 8), (64, 50)])
def test_of_few_images_there_are_as_many_components(
    digits: Dataset, tmp_path: Path, n: int, width: int
) -> None:
    encoder = fitted(digits.train.images[:n], tmp_path, "pca")["pca"]
    assert encoder.width == width
    assert encode(encoder, torch.from_numpy(digits.test.images)).isfinite().all()


def fit(digits: Dataset, seed: int) -> torch.Tensor:
    images = TrainingImages(digits.train.images, CPU, False, "")
    return pca.fit(images, Training(LearningConfig(seed=seed), Path())).components


@pytest.mark.parametrize(("setting", "value"), [("MOST_NUMBERS", 200 * 64), ("WIDEST", 10)])
def test_of_many_or_large_images_the_seed_decides(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, setting: str, value: int
) -> None:
    """Some of the images, and a randomized solver: the same in every run."""
    exact = fit(digits, 0)
    monkeypatch.setattr(pca, setting, value)
    assert torch.equal(fit(digits, 0), fit(digits, 0))
    assert not torch.equal(fit(digits, 0), fit(digits, 1))
    # They span nearly the same.
    overlap = torch.linalg.svdvals(exact[:4] @ fit(digits, 0)[:8].T)
    assert overlap.min() > 0.8
