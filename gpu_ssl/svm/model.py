"""A fitted one-vs-one SVM as arrays, and its decision rule over the Array API."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from array_api_compat import array_namespace, device, is_numpy_namespace, is_torch_array

from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.pairs import class_pairs

HOST_BLOCK_BYTES = 16 * 2**20
DEVICE_BLOCK_BYTES = 256 * 2**20
"""Size of the block of the kernel matrix that scoring holds at a time: a CPU wants one that its caches
hold, a GPU one that occupies it."""


@dataclass(frozen=True)
class OneVsOneModel:
    """One binary SVM for every pair of classes, all over one set of support vectors.

    The decision value of pair (i, j) at x is sum_s coefficients[s, pair] * K(x, s) + intercepts[pair];
    positive values are for class j (as in cuML and in scikit-learn's binary SVC).

    Parameters
    ----------
    support : array of shape (n_support,), int64
        Positions of the support vectors among the fitted points, grouped by class.
    support_vectors : array of shape (n_support, n_features)
        The union of the support vectors of all pairs.
    coefficients : array of shape (n_support, n_pairs)
        Dual coefficients alpha * y; 0 where a vector does not support a pair.
    intercepts : array of shape (n_pairs,)
        One for each pair, in the order of `class_pairs`.
    kernel : Kernel
        The kernel.
    n_classes : int
        Classes are 0 to n_classes - 1.
    n_iter : tuple of int
        Iterations the solver took for each pair, where that is known.
    """

    support: Array
    support_vectors: Array
    coefficients: Array
    intercepts: Array
    kernel: Kernel
    n_classes: int
    n_iter: tuple[int, ...] = ()

    def pair_decisions(self, points: Array) -> Array:
        """Return the decision value of every pair at `points`, of shape (n, n_pairs)."""
        return self._by_blocks(points, lambda decisions: decisions, (self.intercepts.shape[0],))

    def decision_function(self, points: Array, shape: Literal["ovo", "ovr"] = "ovr") -> Array:
        """Return the decision values as scikit-learn's SVC does.

        Parameters
        ----------
        points : array of shape (n, n_features)
            What to score.
        shape : str
            ``ovo``: one column a pair (i, j), positive for class i. ``ovr``: one column a class, its votes
            plus its summed confidence pressed into (-1/3, 1/3).

        Returns
        -------
        array of shape (n, n_pairs) or (n, n_classes), or (n,) for two classes
            Of two classes, positive for the second whatever `shape` is.
        """
        if self.n_classes == 2:
            return self.pair_decisions(points)[:, 0]
        if shape == "ovo":
            return self._by_blocks(points, lambda decisions: -decisions, (self.intercepts.shape[0],))
        membership = pair_membership(self.n_classes, self.intercepts)
        return self._by_blocks(
            points, lambda decisions: self._votes_and_confidences(decisions, membership), (self.n_classes,)
        )

    def predict(self, points: Array, break_ties: bool = False) -> Array:
        """Return the class of each of `points`, of shape (n,), int64.

        Of classes with equally many votes the first wins, as in LIBSVM; with `break_ties` the one with most
        confidence, as in scikit-learn (and in cuML's own multi-class SVC).
        """
        xp = array_namespace(points, self.support_vectors)
        # Two classes have one pair, and no tie.
        breaks = break_ties and self.n_classes > 2
        scores = self._votes_and_confidences if breaks else self._votes
        membership = pair_membership(self.n_classes, self.intercepts)
        return self._by_blocks(points, lambda d: xp.argmax(scores(d, membership), axis=1), (), xp.int64)

    def _by_blocks(
        self, points: Array, rule: Callable[[Array], Array], shape: tuple[int, ...], dtype: object = None
    ) -> Array:
        """Apply `rule` to the pair decisions of one block of points after the other.

        Beside the result, the memory this takes does not depend on how many points there are.
        """
        xp = array_namespace(points, self.support_vectors)
        kernel = self.kernel.against(self.support_vectors)
        own = self.support_vectors.dtype
        result = xp.empty((points.shape[0], *shape), dtype=dtype or own, device=device(points))
        n_support, n_pairs = self.coefficients.shape
        widest = max(n_support, n_pairs, points.shape[1] + 2)
        rows = max(1, _block_bytes(points) // (xp.finfo(own).bits // 8 * widest))
        for start in range(0, points.shape[0], rows):
            block = slice(start, min(start + rows, points.shape[0]))
            # Kept until the next block is there: freed at once, its memory goes back to the system and comes
            # again page by page, which took half of the time on the CPU.
            values = kernel(points[block, :])
            result[block, ...] = rule(values @ self.coefficients + self.intercepts)
        return result

    def _votes(self, decisions: Array, membership: Array) -> Array:
        # LIBSVM gives a decision value of exactly 0 to the second class of the pair.
        return _count_votes(decisions >= 0, membership)

    def _votes_and_confidences(self, decisions: Array, membership: Array) -> Array:
        # scikit-learn gives a decision value of exactly 0 to the first class here.
        xp = array_namespace(decisions)
        confidences = decisions @ membership
        return _count_votes(decisions > 0, membership) + confidences / (3 * (xp.abs(confidences) + 1))


def pair_membership(n_classes: int, like: Array) -> Array:
    """Return the matrix (n_pairs, n_classes) with -1 at the first class of a pair and 1 at the second.

    In the library, on the device and in the dtype of the array `like`.
    """
    xp = array_namespace(like)
    pairs = xp.asarray(class_pairs(n_classes), device=device(like))
    classes = xp.arange(n_classes, device=device(like))
    second, first = (xp.astype(pairs[:, k : k + 1] == classes, like.dtype) for k in (1, 0))
    return second - first


def winners(decisions: Array, n_classes: int) -> Array:
    """Return the class with most votes from decisions (n, n_pairs): what `OneVsOneModel.predict` says."""
    xp = array_namespace(decisions)
    votes = _count_votes(decisions >= 0, pair_membership(n_classes, decisions))
    return xp.argmax(votes, axis=1)


def _count_votes(for_second: Array, membership: Array) -> Array:
    xp = array_namespace(membership)
    signs = 2 * xp.astype(for_second, membership.dtype) - 1
    # Each class takes part in n_classes - 1 pairs, and its column adds 1 for a pair won, -1 for one lost.
    return (signs @ membership + (membership.shape[1] - 1)) / 2


def _block_bytes(points: Array) -> int:
    on_host = is_numpy_namespace(array_namespace(points)) or (
        is_torch_array(points) and points.device.type == "cpu"
    )
    return HOST_BLOCK_BYTES if on_host else DEVICE_BLOCK_BYTES
