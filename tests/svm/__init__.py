"""Shared by the tests of the SVM: data of any shape, and what scikit-learn makes of them."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.kernels import KERNEL_NAMES, Kernel
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty

kernels = st.builds(
    Kernel,
    name=st.sampled_from(KERNEL_NAMES),
    gamma=st.sampled_from([0.05, 0.3, 1.0]),
    degree=st.integers(1, 4),
    coef0=st.sampled_from([0.0, 0.5]),
)


def clouds(
    n: int, n_classes: int, n_features: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Overlapping clouds of points in classes of very different sizes, some of a single point."""
    rng = np.random.default_rng(seed)
    extra = rng.choice(n_classes, max(0, n - n_classes), p=rng.dirichlet([0.5] * n_classes))
    labels = rng.permutation(np.concatenate([np.arange(n_classes), extra]))
    centres = rng.normal(size=(n_classes, n_features))
    return centres[labels] + rng.normal(size=(len(labels), n_features)), labels


def fit(
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    kernel: Kernel,
    C: float = 1.0,
    weights: NDArray[np.float64] | None = None,
    **changes: float,
) -> OneVsOneModel:
    n_classes = int(labels.max()) + 1
    penalty = Penalty(C, kernel, **changes)  # type: ignore[arg-type]
    return fit_one_vs_one(SklearnBackend(), points, labels, n_classes, penalty, weights)
