"""scikit-learn's SVC as a backend: LIBSVM solves the pairs on the host, in float64."""

import math
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.runtime import interop
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.pairs import (
    BinarySVM,
    PairByPair,
    PairSolutions,
    Penalty,
    class_slices,
    join_pairs,
    solve_concurrently,
)

CACHE_MIB = 1000

ALONE = 800
"""Number of points per pair up to which LIBSVM's own loop is as fast as threads over binary fits, which cost
about 0.4 ms each whatever their size (100 points of 10 classes: 2 ms against 30 ms; 3000: 63 against 67). It
takes 7 microseconds for a pair of six points: 3.4 s for the 499,500 pairs of 1000 classes."""

WIDE = 200
"""Number of features from which one kernel matrix of all points is computed first: LIBSVM computes values one
by one, and those within a class again for each of its pairs. On two cores 3000 points of 10 classes are
fitted 1.5 times as fast with 200 features, 2.3 with 784, 4.6 with 1360; with 128, in 146 ms where it took
115."""

LARGEST_MATRIX = 8000
"""Number of points up to which it is computed: 512 MB. 8000 are fitted 1.3 times as fast with 784 features,
twice with 1360. For more, one matrix per pair, computed by the threads that solve them, was sometimes
slower."""

_FILTERS = threading.Lock()


class SklearnBackend(PairByPair):
    """Fits on the host.

    Both loops over the pairs solve the same problems with the points in the same order, so the solutions are
    identical; with a precomputed kernel matrix they are equal up to rounding.
    """

    name = "sklearn"

    def receive(self, latents: torch.Tensor) -> NDArray[np.float32]:
        """Return latents as an array: the same memory if they are on the host, else one copy."""
        return interop.to_numpy(interop.copy_to_host(latents))

    def from_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return `array`, which is on the host."""
        return array

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return `array`, which is on the host."""
        return array

    def solve_pairs(
        self,
        grouped: NDArray[Any],
        sizes: Sequence[int],
        penalty: Penalty,
        weights: NDArray[np.float64] | None,
    ) -> PairSolutions:
        """Solve the binary problem of every pair; see `svm.backend.SVMBackend`."""
        from sklearn.exceptions import ConvergenceWarning  # takes a second, which predicting need not spend

        # Warning filters are per process, so only one fit at a time may change them.
        with _FILTERS, warnings.catch_warnings():
            # The solutions contain it, and 45 pairs would each warn.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Classes of one or two points are normal with few labels.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            precomputed = grouped.shape[1] >= WIDE and len(grouped) <= LARGEST_MATRIX
            if precomputed or 2 * len(grouped) <= ALONE * len(sizes):
                labels = np.repeat(np.arange(len(sizes)), sizes)
                return _unpack(_fit(grouped, labels, penalty, weights, precomputed), sizes)
            return join_pairs(_solve_apart(grouped, sizes, penalty, weights), sizes)


def _fit(
    points: NDArray[Any],
    labels: NDArray[np.int64],
    penalty: Penalty,
    weights: NDArray[np.float64] | None,
    precomputed: bool = False,
) -> Any:
    from sklearn.svm import SVC

    kernel = penalty.kernel
    svc = SVC(
        C=penalty.C,
        kernel="precomputed" if precomputed else kernel.name,
        gamma=kernel.gamma,
        degree=kernel.degree,
        coef0=kernel.coef0,
        tol=penalty.tol,
        max_iter=penalty.max_iter,
        cache_size=CACHE_MIB,
    )
    return svc.fit(kernel_matrix(points, kernel) if precomputed else points, labels, weights)


def kernel_matrix(points: NDArray[Any], kernel: Kernel) -> NDArray[np.float64]:
    """Return the kernel values of all points with each other, in float64.

    BLAS multiplies an array by its own transpose in half of the time (``syrk``). So the squares of the RBF
    kernel, which `Kernel.against` appends to its factors, are taken from the diagonal here.
    """
    points = points.astype(np.float64)
    if kernel.name != "rbf":
        return kernel.against(points)(points)  # type: ignore[no-any-return]
    points -= points.mean(axis=0)
    points *= math.sqrt(2 * kernel.gamma)
    values: NDArray[np.float64] = points @ points.T
    halves = values.diagonal() / 2
    values -= halves
    values -= halves[:, None]
    return np.exp(values, out=values)


def _solve_apart(
    grouped: NDArray[Any], sizes: Sequence[int], penalty: Penalty, weights: NDArray[np.float64] | None
) -> list[BinarySVM]:
    """Solve each pair by a binary SVC, as many at a time as torch uses threads: LIBSVM releases the GIL."""
    classes = class_slices(sizes)

    def solve(i: int, j: int) -> BinarySVM:
        points = np.concatenate([grouped[classes[i]], grouped[classes[j]]])
        own = None if weights is None else np.concatenate([weights[classes[i]], weights[classes[j]]])
        svc = _fit(points, np.repeat([0, 1], [sizes[i], sizes[j]]), penalty, own)
        return BinarySVM(svc.support_, svc.dual_coef_[0], svc.intercept_, int(svc.n_iter_[0]))

    return solve_concurrently(solve, sizes, torch.get_num_threads())


def _unpack(svc: Any, sizes: Sequence[int]) -> PairSolutions:
    """Unpack LIBSVM's dual coefficients of all pairs.

    A support vector has one for each other class, in the order of the classes; the sign only gives the side
    of the pair. With more than two classes LIBSVM's decision value is positive for the first class of a pair,
    so the intercepts change their sign.
    """
    of_support = np.zeros((len(svc.support_), len(sizes)))
    of_support[_others(svc.n_support_)] = np.abs(svc.dual_coef_).T.ravel()
    duals = np.zeros((sum(sizes), len(sizes)))
    duals[svc.support_] = of_support
    return PairSolutions(duals, svc.intercept_ if len(sizes) == 2 else -svc.intercept_, svc.n_iter_)


def pack_coefficients(duals: NDArray[Any], n_support: NDArray[np.int32]) -> NDArray[Any]:
    """Pack dual coefficients as LIBSVM does, the inverse of unpacking.

    Parameters
    ----------
    duals : ndarray of shape (n_support, n_classes)
        Those of a `OneVsOneModel`.
    n_support : ndarray of shape (n_classes,)
        Number of support vectors of each class.

    Returns
    -------
    ndarray of shape (n_classes - 1, n_support)
    """
    others = _others(n_support)
    classes = np.arange(len(n_support))
    first = np.repeat(classes, n_support)[:, None] < classes
    # With two classes scikit-learn inverts the signs.
    signed = np.where(first == (len(n_support) > 2), duals, -duals)
    return signed[others].reshape(len(duals), -1).T


def _others(n_support: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each support vector which classes are not its own, (n_support, n_classes)."""
    classes = np.arange(len(n_support))
    different: NDArray[np.bool_] = np.repeat(classes, n_support)[:, None] != classes
    return different
