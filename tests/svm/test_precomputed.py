"""Wide points are fitted on one matrix of kernel values, and that gives what LIBSVM's own values give."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import sklearn.svm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVC

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.svm import _sklearn
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel, scale_gamma
from gpu_ssl.svm.model import OneVsOneModel
from tests.svm import clouds, fit, kernels

N_FEATURES = 256
seen: list[tuple[str, tuple[int, ...]]] = []
"""The kernel and the shape of what LIBSVM was given, one for each fit."""


class SpiedSVC(SVC):  # type: ignore[misc]
    def fit(self, X: NDArray[Any], *rest: Any) -> SVC:
        seen.append((self.kernel, X.shape))
        return super().fit(X, *rest)


@pytest.fixture(autouse=True)
def spy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    monkeypatch.setattr(sklearn.svm, "SVC", SpiedSVC)


def wide(n: int, n_classes: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make clouds that overlap, and points of a length near 1 in whatever number of features."""
    points, labels = clouds(n, n_classes, 6, seed)
    noise = np.random.default_rng(seed).normal(size=(n, N_FEATURES)) * 0.3
    noise[:, :6] += points / 6**0.5
    return noise / 3, labels


def fit_both(
    points: NDArray[Any], labels: NDArray[np.int64], kernel: Kernel, **options: Any
) -> tuple[OneVsOneModel, OneVsOneModel]:
    """Fit on the matrix and on the points, and show that it was so."""
    n = int((options["weights"] > 0).sum()) if "weights" in options else len(points)
    matrix = fit(points, labels, kernel, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sklearn, "WIDE", points.shape[1] + 1)
        direct = fit(points, labels, kernel, **options)
    assert seen == [("precomputed", (n, n)), (kernel.name, (n, points.shape[1]))]
    return matrix, direct


def assert_alike(matrix: OneVsOneModel, direct: OneVsOneModel, new: NDArray[Any]) -> None:
    """Rounding may lead the solver to another point within its tolerance: 0.001, where margins are 1."""
    assert len(np.setxor1d(matrix.support, direct.support)) <= 0.02 * len(direct.support)
    expected = direct.decision_function(new, "ovo")
    np.testing.assert_allclose(matrix.decision_function(new, "ovo"), expected, atol=2e-3)
    clear = (abs(expected.reshape(len(new), -1)) > 4e-3).all(axis=1)
    assert clear.mean() > 0.5
    assert np.array_equal(matrix.predict(new)[clear], direct.predict(new)[clear])


def kernel_of(name: Any, points: NDArray[Any]) -> Kernel:
    return Kernel(name, gamma=scale_gamma(points), degree=2, coef0=0.1)


@pytest.mark.parametrize("name", KERNEL_NAMES)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_matrix_of_kernel_values_gives_the_model_that_points_give(name: str, n_classes: int) -> None:
    points, labels = wide(300, n_classes)
    new = wide(300, n_classes, seed=1)[0]
    for layout in (points, np.asfortranarray(points), points.astype(np.float32)):
        seen.clear()
        matrix, direct = fit_both(layout, labels, kernel_of(name, points))
        assert_alike(matrix, direct, new.astype(layout.dtype))


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_weights_and_a_class_of_one_point_do_too(name: str) -> None:
    points, labels = wide(200, 4)
    labels[labels == 3] = 2
    labels[7] = 3
    weights = np.random.default_rng(0).choice([0.0, 0.3, 1.0, 4.0], len(labels))
    weights[[7, *(np.flatnonzero(labels == k)[0] for k in range(3))]] = 1
    matrix, direct = fit_both(points, labels, kernel_of(name, points), weights=weights)
    assert_alike(matrix, direct, wide(300, 4, seed=1)[0])
    assert (weights[matrix.support] > 0).all()
    assert 7 in matrix.support


def test_real_pixels_do_too(digits: Dataset) -> None:
    """Blown up to 16 x 16, so that they are wide."""
    train, test = (
        np.kron(part.images.reshape(-1, 8, 8), np.ones((2, 2))).reshape(-1, 256).astype(np.float32) / 255
        for part in (digits.train, digits.test)
    )
    matrix, direct = fit_both(train, digits.train.labels, Kernel(gamma=scale_gamma(train)), C=5.0)
    assert np.array_equal(matrix.support, direct.support)
    assert_alike(matrix, direct, test)
    assert np.array_equal(matrix.predict(test), direct.predict(test))


@given(
    kernel=kernels,
    n=st.integers(2, 30),
    d=st.integers(1, 300),
    seed=st.integers(0, 999),
    single=st.booleans(),
)
def test_the_matrix_is_exact_in_float64(kernel: Kernel, n: int, d: int, seed: int, single: bool) -> None:
    points = (np.random.default_rng(seed).normal(size=(n, d)) / d**0.5).astype("f4" if single else "f8")
    before = points.copy()
    values = _sklearn.kernel_matrix(points, kernel)
    assert values.dtype == np.float64
    assert np.array_equal(points, before)
    parameters = {name: value for name, value in asdict(kernel).items() if name != "name"}
    expected = pairwise_kernels(
        points.astype(np.float64), None, kernel.name, filter_params=True, **parameters
    )
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values, kernel.against(points.astype("f8"))(points), rtol=1e-12, atol=1e-12)


def test_rbf_values_of_points_far_from_the_origin_are_exact_too() -> None:
    # Multiples of 1/64, so that the moved points are exact.
    near = np.round(np.random.default_rng(0).normal(size=(60, 200)) * 64) / 64
    squares = ((near[:, None] - near) ** 2).sum(axis=2)
    values = _sklearn.kernel_matrix(near + 1000, Kernel(gamma=1 / 200))
    np.testing.assert_allclose(values, np.exp(-squares / 200), rtol=0, atol=1e-12)
    assert np.array_equal(values.diagonal(), np.ones(60))


def test_narrow_points_and_matrices_too_large_are_left_to_libsvm(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = wide(60, 3)
    fit(points[:, : _sklearn.WIDE - 1], labels, Kernel())
    fit(points[:, : _sklearn.WIDE], labels, Kernel())
    assert seen == [("rbf", (60, _sklearn.WIDE - 1)), ("precomputed", (60, 60))]
    seen.clear()
    monkeypatch.setattr(_sklearn, "ALONE", 0)
    fit(points, labels, Kernel())
    monkeypatch.setattr(_sklearn, "LARGEST_MATRIX", 59)
    fit(points, labels, Kernel())
    assert [kernel for kernel, _ in seen] == ["precomputed", "rbf", "rbf", "rbf"]
    assert all(shape[1] == N_FEATURES for _, shape in seen[1:])


def test_a_solver_that_stops_early_is_told_once() -> None:
    points, labels = wide(100, 4)
    with pytest.warns(ConvergenceWarning) as caught:
        fit(points, labels, Kernel(), C=100, max_iter=1)
    assert seen == [("precomputed", (100, 100))]
    assert [str(warning.message)[:60] for warning in caught] == [
        "the solver stopped before it converged in 6 of 6 pairs of cl"
    ]
