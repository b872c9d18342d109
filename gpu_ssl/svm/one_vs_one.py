"""Fits a binary SVM for every pair of classes, over one set of support vectors, where the points are."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.pairs import PairSolutions, Penalty, class_slices


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
    _warn_of_unconverged(solutions.n_iter, penalty)
    return _model(solutions, grouped, index, sizes.tolist(), penalty)


def _warn_of_unconverged(n_iter: NDArray[np.integer[Any]], penalty: Penalty) -> None:
    stopped = int((n_iter >= penalty.max_iter).sum())
    if penalty.max_iter >= 0 and stopped:
        warnings.warn(
            f"the solver stopped before it converged in {stopped} of {len(n_iter)} pairs of classes "
            f"(max_iter={penalty.max_iter}, tol={penalty.tol:g}); give it more iterations, or scale the data",
            ConvergenceWarning,
            stacklevel=3,
        )


def _model(
    solutions: PairSolutions, grouped: Array, index: Array, sizes: Sequence[int], penalty: Penalty
) -> OneVsOneModel:
    """Keep the points that support a pair. How many each class has shows in the shapes, not in values."""
    xp = array_namespace(grouped)
    supports = xp.any(solutions.duals > 0, axis=1)
    kept = [rows.start + xp.nonzero(supports[rows])[0] for rows in class_slices(sizes)]
    union = xp.concat(kept)
    return OneVsOneModel(
        support=xp.take(index, union, axis=0),
        support_vectors=xp.take(grouped, union, axis=0),
        duals=xp.astype(xp.take(solutions.duals, union, axis=0), grouped.dtype),
        intercepts=xp.astype(solutions.intercepts, grouped.dtype),
        kernel=penalty.kernel,
        n_support=tuple(int(positions.shape[0]) for positions in kept),
        n_iter=solutions.n_iter,
    )
