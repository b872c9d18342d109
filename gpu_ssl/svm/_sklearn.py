"""scikit-learn's SVC as a backend: LIBSVM fits all pairs on the host."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from gpu_ssl.runtime import interop
from gpu_ssl.svm.model import OneVsOneModel, class_pairs

CACHE_MIB = 1000


class SklearnBackend:
    """Fits on the host, in float64, and keeps the model in the dtype of the points."""

    def receive(self, latents: Tensor) -> NDArray[np.float32]:
        """Take over latents: the same memory where they are on the host, one copy where they are not."""
        return interop.to_numpy(interop.copy_to_host(latents))

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return `array`: it is on the host."""
        return array

    def fit(
        self, points: NDArray[Any], labels: NDArray[np.int64], n_classes: int, C: float, gamma: float
    ) -> OneVsOneModel:
        """Fit one binary SVM for every pair of classes; see `svm.backend.SVMBackend`."""
        svc = SVC(C=C, kernel="rbf", gamma=gamma, cache_size=CACHE_MIB).fit(points, labels)
        if not np.array_equal(svc.classes_, np.arange(n_classes)):
            raise ValueError(f"every class from 0 to {n_classes - 1} needs a labelled point")
        coefficients, intercepts = _unpack(svc)
        return OneVsOneModel(
            support_vectors=points[svc.support_],
            coefficients=coefficients.astype(points.dtype),
            intercepts=intercepts.astype(points.dtype),
            gamma=gamma,
            n_classes=n_classes,
        )


def _unpack(svc: SVC) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread LIBSVM's packed dual coefficients over one column a pair.

    Support vectors are grouped by class. Of a pair (i, j), row j - 1 of ``dual_coef_`` holds what belongs
    to the vectors of class i, and row i what belongs to those of class j. With more than two classes
    LIBSVM's decision value is positive for class i, so the signs are turned.
    """
    n_classes = len(svc.classes_)
    if n_classes == 2:
        return svc.dual_coef_.T, svc.intercept_
    ends = np.cumsum(svc.n_support_)
    groups = [slice(end - n, end) for end, n in zip(ends, svc.n_support_, strict=True)]
    coefficients = np.zeros((ends[-1], len(svc.intercept_)))
    for pair, (i, j) in enumerate(class_pairs(n_classes)):
        coefficients[groups[i], pair] = -svc.dual_coef_[j - 1, groups[i]]
        coefficients[groups[j], pair] = -svc.dual_coef_[i, groups[j]]
    return coefficients, -svc.intercept_
