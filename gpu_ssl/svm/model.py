"""A fitted one-vs-one SVM as arrays, and its decision rule over the Array API.

The decisions of all pairs at a point form one antisymmetric matrix: row o and column c hold the decision
value in favour of class c against class o. Scores of classes are sums over its rows, without a loop over the
pairs, of which a thousand classes have half a million.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from array_api_compat import device, is_numpy_namespace, is_torch_array
from numpy.typing import NDArray

from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.pairs import class_slices

HOST_BLOCK_BYTES = 16 * 2**20
DEVICE_BLOCK_BYTES = 256 * 2**20
"""Size of the block of the kernel matrix during scoring: it should fit in the caches of a CPU, or occupy a
GPU."""


@dataclass(frozen=True)
class OneVsOneModel:
    """Binary SVMs for all pairs of classes, over one set of support vectors.

    The decision value in favour of class c against class o at x is the sum over the support vectors s of c of
    duals[s, o] * K(x, s), less the sum over those of o of duals[s, c] * K(x, s), and a constant. The memory
    required grows with the number of classes, not of pairs.

    Parameters
    ----------
    support : array of shape (n_support,), int64
        Positions of the support vectors among the fitted points, grouped by class.
    support_vectors : array of shape (n_support, n_features)
        The union of the support vectors of all pairs.
    duals : array of shape (n_support, n_classes)
        Dual coefficient alpha of each vector in the problem of its own class and each other one: not
        negative; 0 if it does not support the pair, and in the column of its own class.
    intercepts : array of shape (n_pairs,)
        One for each pair (i, j), i < j, in the order of `class_pairs`: the constant in favour of class j.
    kernel : Kernel
        The kernel.
    n_support : tuple of int
        Number of support vectors of each class.
    n_iter : ndarray of shape (n_pairs,), integer, or None
        Number of iterations of the solver for each pair, if known.
    """

    support: Array
    support_vectors: Array
    duals: Array
    intercepts: Array
    kernel: Kernel
    n_support: tuple[int, ...]
    n_iter: NDArray[np.integer[Any]] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes, 0 to n_classes - 1."""
        return len(self.n_support)

    def pair_decisions(self, points: Array) -> Array:
        """Return the decision values of all pairs, (n, n_pairs): positive for the second class of a pair."""
        return self.by_blocks(points, self.pair_rule(), self.n_classes**2, self.intercepts.shape)

    def decision_function(self, points: Array, shape: Literal["ovo", "ovr"] = "ovr") -> Array:
        """Return the decision values as scikit-learn's SVC does.

        Parameters
        ----------
        points : array of shape (n, n_features)
            Points to score.
        shape : str
            ``ovo``: one column per pair (i, j), positive for class i. ``ovr``: one column per class, its
            votes plus its summed confidence squashed into (-1/3, 1/3).

        Returns
        -------
        array of shape (n, n_pairs) or (n, n_classes), or (n,) for two classes
            With two classes, positive for the second for any `shape`.
        """
        if self.n_classes == 2:
            return self.pair_decisions(points)[:, 0]
        if shape == "ovo":
            return -self.pair_decisions(points)
        margins = self.margin_rule()
        return self.by_blocks(
            points,
            lambda values: votes_and_confidences(margins(values)),
            self.n_classes**2,
            (self.n_classes,),
        )

    def predict(self, points: Array, break_ties: bool = False) -> Array:
        """Return the class of each of `points`, of shape (n,), int64.

        Ties go to the first class, as in LIBSVM; with `break_ties` to the one with the largest confidence, as
        in scikit-learn (and in cuML's own multi-class SVC).
        """
        xp = array_namespace(points, self.support_vectors)
        # Two classes have one pair, and no ties.
        scores = votes_and_confidences if break_ties and self.n_classes > 2 else votes
        margins = self.margin_rule()
        return self.by_blocks(
            points, lambda values: xp.argmax(scores(margins(values)), axis=1), self.n_classes**2, (), xp.int64
        )

    def margin_rule(self) -> Callable[[Array], Array]:
        """Return the function from kernel values (n, n_support) to margins (n, n_classes, n_classes).

        A margin is in favour of the class of the last axis against that of the one before.
        """
        xp = array_namespace(self.duals)
        slices = class_slices(self.n_support)
        parts = [self.duals[rows, :] for rows in slices]
        constants = margins_of(self.intercepts[None, :], self.n_classes)

        def margins(values: Array) -> Array:
            own = xp.stack([values[:, rows] @ part for rows, part in zip(slices, parts, strict=True)], axis=1)
            return xp.permute_dims(own, (0, 2, 1)) - own + constants

        return margins

    def pair_rule(self) -> Callable[[Array], Array]:
        """Return the function from kernel values (n, n_support) to decision values of pairs (n, n_pairs)."""
        xp = array_namespace(self.duals)
        margins = self.margin_rule()
        first, second = np.triu_indices(self.n_classes, 1)
        above = xp.asarray(first * self.n_classes + second, device=device(self.duals))
        return lambda values: xp.take(xp.reshape(margins(values), (-1, self.n_classes**2)), above, axis=1)

    def by_blocks(
        self,
        points: Array,
        rule: Callable[[Array], Array],
        width: int,
        shape: tuple[int, ...],
        dtype: object = None,
    ) -> Array:
        """Apply `rule` to the kernel values of one block of points after the other.

        Apart from the result, the memory required does not depend on the number of points.

        Parameters
        ----------
        points : array of shape (n, n_features)
            Points to score.
        rule : callable
            Function from kernel values (m, n_support) of m points to an array of shape (m, ...).
        width : int
            Number of intermediate values per point.
        shape : tuple of int
            Shape of its result for one point.
        dtype : dtype, optional
            dtype of the result; by default that of the support vectors.
        """
        xp = array_namespace(points, self.support_vectors)
        kernel = self.kernel.against(self.support_vectors)
        own = self.support_vectors.dtype
        result = xp.empty((points.shape[0], *shape), dtype=dtype or own, device=device(points))
        widest = max(self.support_vectors.shape[0], width, points.shape[1] + 2)
        rows = max(1, _block_bytes(points) // (xp.finfo(own).bits // 8 * widest))
        for start in range(0, points.shape[0], rows):
            block = slice(start, min(start + rows, points.shape[0]))
            # Kept until the next block exists: freed at once, its memory would go back to the system and be
            # mapped again page by page, which took half of the time on the CPU.
            part = points[block, :]
            # NumPy promotes two kinds of floats, torch refuses to multiply them.
            values = kernel(part.to(own) if is_torch_array(part) else part)
            result[block, ...] = rule(values)
        return result


def margins_of(decisions: Array, n_classes: int) -> Array:
    """Return decision values of pairs (n, n_pairs) as margins (n, n_classes, n_classes).

    A margin is in favour of the class of the last axis against that of the one before; 0 on the diagonal.
    """
    xp = array_namespace(decisions)
    first, second = np.triu_indices(n_classes, 1)
    pairs = np.zeros((n_classes, n_classes), np.int64)
    pairs[first, second] = pairs[second, first] = np.arange(len(first))
    every = xp.take(decisions, xp.asarray(pairs.ravel(), device=device(decisions)), axis=1)
    signs = xp.asarray(
        np.sign(np.arange(n_classes) - np.arange(n_classes)[:, None]), device=device(decisions)
    )
    return xp.reshape(every, (-1, n_classes, n_classes)) * xp.astype(signs, decisions.dtype)


def votes(margins: Array) -> Array:
    """Return the number of pairs that each class wins, of shape (n, n_classes), from margins.

    LIBSVM gives a decision value of exactly 0 to the second class of the pair.
    """
    return _count(margins, _is_second(margins))


def votes_and_confidences(margins: Array) -> Array:
    """Return votes plus the summed margins squashed into (-1/3, 1/3), (n, n_classes), as scikit-learn does.

    It gives a decision value of exactly 0 to the first class of the pair.
    """
    xp = array_namespace(margins)
    confidences = xp.sum(margins, axis=1)
    return _count(margins, _is_second(margins).T) + confidences / (3 * (xp.abs(confidences) + 1))


def winners(decisions: Array, n_classes: int) -> Array:
    """Return the class with most votes from decisions (n, n_pairs), as `OneVsOneModel.predict` does."""
    return array_namespace(decisions).argmax(votes(margins_of(decisions, n_classes)), axis=1)


def _is_second(margins: Array) -> Array:
    """Return whether the class of the column is the second class of its pair with that of the row."""
    xp = array_namespace(margins)
    classes = xp.arange(margins.shape[-1], device=device(margins))
    return classes[None, :] > classes[:, None]


def _count(margins: Array, wins_zero: Array) -> Array:
    xp = array_namespace(margins)
    won = (margins > 0) | ((margins == 0) & wins_zero)
    return xp.sum(xp.astype(won, margins.dtype), axis=1)


def _block_bytes(points: Array) -> int:
    on_host = is_numpy_namespace(array_namespace(points)) or (
        is_torch_array(points) and points.device.type == "cpu"
    )
    return HOST_BLOCK_BYTES if on_host else DEVICE_BLOCK_BYTES
