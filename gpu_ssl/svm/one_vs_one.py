"""Fits a binary SVM for every pair of classes, over one set of support vectors, on the points' device."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.pairs import PairSolutions, Penalty, Problem, class_slices


class Task(NamedTuple):
    """Points (n, d) with labels (n,), 0 to n_classes - 1, and what to solve; see `fit_one_vs_one`."""

    points: Array
    labels: NDArray[np.int64]
    n_classes: int
    penalty: Penalty
    weights: NDArray[np.float64] | None = None


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
        Backend that solves the pairs.
    points : array of shape (n, d), float
        An array of the backend's library; it stays on its device, and is copied to the host only if the
        backend's library is on the host.
    labels : ndarray of shape (n,), int64
        Classes, 0 to n_classes - 1, on the host.
    n_classes : int
        Number of classes.
    penalty : Penalty
        The optimization problem that all pairs share.
    weights : ndarray of shape (n,), optional
        Factor of C for each point; points of weight 0 are ignored.

    Returns
    -------
    OneVsOneModel
        The fitted model, in the dtype of `points`, on their device.

    Raises
    ------
    UsageError
        If a class has no point of positive weight.
    """
    return fit_all(backend, [Task(points, labels, n_classes, penalty, weights)])[0]


def fit_all(backend: SVMBackend, tasks: Sequence[Task]) -> list[OneVsOneModel]:
    """Fit several models, at once if the backend supports it; see `fit_one_vs_one`."""
    indices, problems = zip(*map(_grouped, tasks), strict=True)
    models = []
    for index, problem, solutions in zip(indices, problems, backend.solve_all(problems), strict=True):
        _warn_of_unconverged(solutions.n_iter, problem.penalty)
        models.append(_model(solutions, problem.grouped, index, problem.sizes, problem.penalty))
    return models


def _grouped(task: Task) -> tuple[Array, Problem]:
    """Group the points of positive weight by class; return their positions and the problem."""
    labels, weights, n_classes = task.labels, task.weights, task.n_classes
    taking_part = np.arange(len(labels)) if weights is None else np.flatnonzero(weights > 0)
    # Grouped by class, each class is a slice; LIBSVM lists support vectors in the same order.
    rows = taking_part[np.argsort(labels[taking_part], kind="stable")]
    sizes = np.bincount(labels[rows], minlength=n_classes)
    if (sizes == 0).any():
        raise UsageError(
            f"class {int(np.flatnonzero(sizes == 0)[0])} has no labelled point (of positive weight), and "
            f"every class from 0 to {n_classes - 1} needs one; label one, or leave that class out"
        )
    xp = array_namespace(task.points)
    index = xp.asarray(rows, device=device(task.points))
    grouped = xp.take(task.points, index, axis=0)
    own = None if weights is None else weights[rows]
    return index, Problem(grouped, sizes.tolist(), task.penalty, own)


def _warn_of_unconverged(n_iter: NDArray[np.integer[Any]], penalty: Penalty) -> None:
    stopped = int((n_iter >= penalty.max_iter).sum())
    if penalty.max_iter >= 0 and stopped:
        from sklearn.exceptions import ConvergenceWarning

        warnings.warn(
            f"the solver stopped before it converged in {stopped} of {len(n_iter)} pairs of classes "
            f"(max_iter={penalty.max_iter}, tol={penalty.tol:g}); give it more iterations, or scale the data",
            ConvergenceWarning,
            stacklevel=4,
        )


def _model(
    solutions: PairSolutions, grouped: Array, index: Array, sizes: Sequence[int], penalty: Penalty
) -> OneVsOneModel:
    """Keep the points that support a pair; the number of each class is known from shapes, not values."""
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
