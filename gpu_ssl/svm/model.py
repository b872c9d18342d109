"""A fitted one-vs-one SVM as arrays, and its decision rule over the Array API."""

import itertools
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

Array = Any
"""An array of any library that follows the Array API: NumPy here, CuPy on a GPU."""

BLOCK_BYTES = 32 * 2**20
"""Size of the kernel matrix that scoring holds at a time."""


def class_pairs(n_classes: int) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, in the order of the columns of `OneVsOneModel.coefficients`."""
    return list(itertools.combinations(range(n_classes), 2))


@dataclass(frozen=True)
class OneVsOneModel:
    """One binary RBF SVM for every pair of classes, all over one set of support vectors.

    The decision value of pair (i, j) at x is sum_s coefficients[s, pair] * exp(-gamma * |x - sv_s|^2) +
    intercepts[pair]; where it is at least 0 the pair votes for class j (as cuML and scikit-learn's binary
    SVC do), else for i. The class with most votes wins, and of equals the first, as in LIBSVM.

    Parameters
    ----------
    support_vectors : array of shape (n_support, n_features)
        The union of the support vectors of all pairs.
    coefficients : array of shape (n_support, n_pairs)
        Dual coefficients alpha * y; 0 where a vector does not support a pair.
    intercepts : array of shape (n_pairs,)
        One for each pair, in the order of `class_pairs`.
    gamma : float
        Width of the kernel.
    n_classes : int
        Classes are 0 to n_classes - 1.
    """

    support_vectors: Array
    coefficients: Array
    intercepts: Array
    gamma: float
    n_classes: int

    def pair_decisions(self, points: Array) -> Array:
        """Return the decision value of every pair at `points`, of shape (n, n_pairs).

        All pairs share one kernel matrix, computed in blocks of `BLOCK_BYTES`.
        """
        xp = array_namespace(points, self.support_vectors)
        # |x - s|^2 is the difference of large numbers where the data lie far from the origin; the centre
        # of the support vectors is as good an origin as any.
        centre = xp.mean(self.support_vectors, axis=0)
        vectors = self.support_vectors - centre
        squares = xp.sum(vectors * vectors, axis=1)
        rows = max(1, BLOCK_BYTES // (vectors.dtype.itemsize * max(1, vectors.shape[0])))
        decisions = []
        for start in range(0, points.shape[0], rows):
            block = points[start : start + rows, :] - centre
            distances = xp.sum(block * block, axis=1)[:, None] + squares - 2 * (block @ vectors.T)
            # Rounding can leave a squared distance slightly below zero.
            kernel = xp.exp(-self.gamma * xp.where(distances > 0, distances, xp.zeros_like(distances)))
            decisions.append(kernel @ self.coefficients + self.intercepts)
        return xp.concat(decisions, axis=0)

    def predict(self, points: Array) -> Array:
        """Return the class of each of `points`, of shape (n,), int64."""
        decisions = self.pair_decisions(points)
        xp = array_namespace(decisions)
        pairs = xp.asarray(class_pairs(self.n_classes), device=device(decisions))
        classes = xp.arange(self.n_classes, device=device(decisions))
        for_first = xp.astype(pairs[:, :1] == classes, decisions.dtype)
        for_second = xp.astype(pairs[:, 1:] == classes, decisions.dtype)
        wins = xp.astype(decisions >= 0, decisions.dtype)
        votes = wins @ for_second + (1 - wins) @ for_first
        return xp.argmax(votes, axis=1)
