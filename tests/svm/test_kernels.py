"""The kernels are those of LIBSVM, and lose no precision where they need not."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_wine
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVC

from gpu_ssl import OneVsOneSVC
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from tests.svm import kernels


@given(kernel=kernels, shape=st.tuples(*[st.integers(1, 12)] * 3), seed=st.integers(0, 10**6))
def test_kernels_are_those_of_scikit_learn(kernel: Kernel, shape: tuple[int, int, int], seed: int) -> None:
    n, m, d = shape
    rng = np.random.default_rng(seed)
    points, vectors = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    parameters = {name: value for name, value in asdict(kernel).items() if name != "name"}
    expected = pairwise_kernels(points, vectors, kernel.name, filter_params=True, **parameters)
    np.testing.assert_allclose(kernel.against(vectors)(points), expected, atol=1e-12)
    tensors = kernel.against(torch.from_numpy(vectors))(torch.from_numpy(points))
    np.testing.assert_allclose(tensors.numpy(), expected, atol=1e-12)


def test_points_far_from_the_origin_lose_little_precision() -> None:
    rng = np.random.default_rng(0)
    # Multiples of 1/64, so that the moved points are exact in float32.
    near = np.round(rng.normal(size=(50, 4)) * 64).astype(np.float32) / 64
    expected = Kernel(gamma=0.25).against(near)(near)
    far = near + np.float32(10_000)
    np.testing.assert_allclose(Kernel(gamma=0.25).against(far)(far), expected, atol=2e-3)


@pytest.mark.parametrize("scale", [1e-20, 1e-25])
def test_tiny_features_have_the_kernel_of_scaled_ones(scale: float) -> None:
    """Their squares are below the smallest number of float32, and their gamma is far above 1."""
    points = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    expected = Kernel(gamma=0.25).against(points)(points)
    tiny = points * np.float32(scale)
    np.testing.assert_allclose(Kernel(gamma=0.25 / scale**2).against(tiny)(tiny), expected, atol=1e-4)


def test_constant_points_have_a_gamma() -> None:
    assert scale_gamma(np.ones((5, 3))) == 1.0


def test_gamma_is_that_of_scikit_learn(digits: Dataset) -> None:
    points = digits.train.images.reshape(len(digits.train), -1) / 255
    expected = SVC().fit(points, digits.train.labels)._gamma
    assert scale_gamma(points) == pytest.approx(expected)
    assert scale_gamma(torch.from_numpy(points).float()) == pytest.approx(expected)


@pytest.mark.parametrize("on_torch", [False, True])
def test_features_that_were_not_scaled_are_classified_as_by_scikit_learn(on_torch: bool) -> None:
    """In float32 the exponents, of hundreds of millions, would be off by ten and more."""
    found = load_wine()
    points = (100 * found.data).astype(np.float32)
    kernel = Kernel(gamma=1 / points.shape[1])
    values = kernel.against(torch.from_numpy(points) if on_torch else points)(
        torch.from_numpy(points) if on_torch else points
    )
    assert "float32" in str(values.dtype)
    expected = pairwise_kernels(points.astype(np.float64), metric="rbf", gamma=kernel.gamma)
    np.testing.assert_allclose(np.asarray(values), expected, atol=1e-6)
    svc = OneVsOneSVC(C=5, gamma="auto", device="cpu").fit(points, found.target)
    assert svc.score(points, found.target) == SVC(C=5, gamma="auto").fit(points, found.target).score(
        points, found.target
    )
