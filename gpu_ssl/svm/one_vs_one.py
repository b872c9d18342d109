"""Fits a binary SVM for every pair of classes and stacks them; everything stays where the points are."""

import warnings
from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.pairs import BinarySVM, Penalty, class_pairs, class_slices


def fit_one_vs_one(
    backend: SVMBackend,
    points: Array,
    labels: NDArray[np.int64],
    n_classes: int,
    penalty: Penalty,
    weights: NDArray[np.float64] | None = None,
) -> OneVsOneModel:
    """Fit one binary SVM for every pair of classes.

    Parameters
    ----------
    backend : SVMBackend
        Who solves the pairs.
    points : array of shape (n, d), float
        An array of the backend's library; it is gathered and read where it is, and never copied to the host
        unless the backend's library is on the host.
    labels : ndarray of shape (n,), int64
        Classes, 0 to n_classes - 1. Labels are few and live on the host.
    n_classes : int
        Number of classes.
    penalty : Penalty
        The problem all pairs share.
    weights : ndarray of shape (n,), optional
        Factor of C for each point; those of weight 0 take no part.

    Returns
    -------
    OneVsOneModel
        In the dtype of `points`, on their device.

    Raises
    ------
    UsageError
        If a class has no point of positive weight.
    """
    taking_part = np.arange(len(labels)) if weights is None else np.flatnonzero(weights > 0)
    # Grouped by class, each class is a slice; and it is the order in which LIBSVM lists support vectors.
    rows = taking_part[np.argsort(labels[taking_part], kind="stable")]
    sizes = np.bincount(labels[rows], minlength=n_classes)
    if (sizes == 0).any():
        raise UsageError(
            f"class {int(np.flatnonzero(sizes == 0)[0])} has no labelled point (of positive weight), and "
            f"every class from 0 to {n_classes - 1} needs one; label one, or leave that class out"
        )
    xp = array_namespace(points)
    index = xp.asarray(rows, device=device(points))
    grouped = xp.take(points, index, axis=0)
    solutions = backend.solve_pairs(
        grouped, sizes.tolist(), penalty, None if weights is None else weights[rows]
    )
    _warn_of_unconverged(solutions, penalty)
    return _stack(solutions, grouped, index, sizes.tolist(), penalty)


def _warn_of_unconverged(solutions: Sequence[BinarySVM], penalty: Penalty) -> None:
    stopped = sum(solution.n_iter >= penalty.max_iter for solution in solutions)
    if penalty.max_iter >= 0 and stopped:
        warnings.warn(
            f"the solver stopped before it converged in {stopped} of {len(solutions)} pairs of classes "
            f"(max_iter={penalty.max_iter}, tol={penalty.tol:g}); give it more iterations, or scale the data",
            ConvergenceWarning,
            stacklevel=3,
        )


def _stack(
    solutions: Sequence[BinarySVM], grouped: Array, index: Array, sizes: Sequence[int], penalty: Penalty
) -> OneVsOneModel:
    """Bring the solutions of all pairs over the union of their support vectors, by array operations alone.

    Positions in a pair are ascending, and so are those among the grouped points that they stand for. So a
    binary search finds each vector of the union in each pair, and nothing is scattered.
    """
    xp = array_namespace(grouped)
    starts = [rows.start for rows in class_slices(sizes)]
    positions = []
    for solution, (i, j) in zip(solutions, class_pairs(len(sizes)), strict=True):
        local = xp.astype(solution.support, xp.int64)
        offset = starts[j] - starts[i] - sizes[i]
        positions.append(local + starts[i] + offset * xp.astype(local >= sizes[i], xp.int64))
    union = xp.unique_values(xp.concat(positions))
    columns = [
        _spread(union, position, xp.astype(solution.coefficients, grouped.dtype))
        for position, solution in zip(positions, solutions, strict=True)
    ]
    return OneVsOneModel(
        support=xp.take(index, union, axis=0),
        support_vectors=xp.take(grouped, union, axis=0),
        coefficients=xp.stack(columns, axis=1),
        intercepts=xp.concat([xp.astype(solution.intercept, grouped.dtype) for solution in solutions]),
        kernel=penalty.kernel,
        n_classes=len(sizes),
        n_iter=tuple(solution.n_iter for solution in solutions),
    )


def _spread(union: Array, positions: Array, coefficients: Array) -> Array:
    """Return `coefficients`, known at ascending `positions`, at all of `union`: 0 where there is none."""
    xp = array_namespace(union)
    nothing = xp.zeros(union.shape, dtype=coefficients.dtype, device=device(union))
    if positions.shape[0] == 0:
        return nothing
    found = xp.searchsorted(positions, union)
    found = xp.where(found < positions.shape[0], found, xp.zeros_like(found))
    is_there = xp.take(positions, found) == union
    return xp.where(is_there, xp.take(coefficients, found), nothing)
