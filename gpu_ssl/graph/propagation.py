"""Label spreading on a graph of nearest neighbours.

The points are features of all training images, for which label spreading is transductive. Test images are
not part of the graph; they get the weighted average of their nearest neighbours in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from array_api_compat import device

from gpu_ssl.graph.components import leading_components
from gpu_ssl.graph.neighbours import GraphBackend, Neighbours, Sparse
from gpu_ssl.runtime.arrays import Array, array_namespace

N_NEIGHBOURS = 15
DECAY = 4.0
"""An edge of length d has the weight exp(-DECAY d^2 / r^2), where r is the distance to the k-th neighbour, as
in Calder et al. 2020."""

MOST_VALUES = 2**24
"""Maximum number of points times classes that are propagated at a time."""


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """The symmetric graph of the k nearest neighbours of `points`.

    Parameters
    ----------
    points : array of shape (n, d), float
        Features of at least two images.
    backend : GraphBackend
        Backend for the array library of `points`.
    k : int
        Number of neighbours of each point, at most n - 1.
    components : array of shape (width, d), optional
        By which features were multiplied to make `points`; queries are features, too.
    """

    points: Array
    backend: GraphBackend
    k: int = N_NEIGHBOURS
    components: Array | None = None

    @classmethod
    def of_features(cls, features: Array, backend: GraphBackend) -> "NeighbourGraph":
        """Return the graph of features (n, d), or of their principal components if they are wide."""
        components = leading_components(features)
        points = features if components is None else features @ components
        return cls(points, backend, components=components)

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the index, which another process rebuilds if needed."""
        return {name: value for name, value in self.__dict__.items() if name != "_nearest"}

    @cached_property
    def _nearest(self) -> Callable[[Array, int], Neighbours]:
        return self.backend.index(self.points)

    @cached_property
    def weights(self) -> Sparse:
        """Edge weights W = (A + A^T) / 2, where A holds the weights of each point's nearest neighbours."""
        xp = array_namespace(self.points)
        n = self.points.shape[0]
        k = min(self.k, n - 1)
        distances, indices = self._nearest(self.points, k + 1)
        values = edge_weights(distances[:, 1:])
        own = xp.arange(n, device=device(self.points))
        # Each point finds itself first, or an identical one, which then takes the place of the point.
        indices = xp.where(indices == own[:, None], indices[:, :1], indices)[:, 1:]
        rows = xp.repeat(own, k)
        half = self.backend.sparse(xp.reshape(values, (-1,)) / 2, rows, xp.reshape(indices, (-1,)), n)
        return (half + half.T).tocsr()

    @cached_property
    def degrees(self) -> Array:
        """Sum of the edge weights of each point, shape (n, 1)."""
        xp = array_namespace(self.points)
        ones = xp.ones((self.points.shape[0], 1), dtype=self.points.dtype, device=device(self.points))
        return self.weights @ ones

    def spread(self, labels: Array, alpha: float) -> Array:
        """Propagate labels by local and global consistency: F = (1 - alpha) (I - alpha S)^-1 Y.

        S = D^-1/2 W D^-1/2 (Zhou et al. 2004).

        Parameters
        ----------
        labels : array of shape (n, c)
            Y: 1 at the class of a labelled point, 0 elsewhere.
        alpha : float
            Between 0 and 1; larger values propagate labels farther.

        Returns
        -------
        array of shape (n, c)
            F, non-negative up to rounding.
        """
        xp = array_namespace(labels)
        root = self.degrees**0.5

        def operator(columns: Array) -> Array:
            return columns - alpha * (self.weights @ (columns / root)) / root

        # With hundreds of classes, solve for some at a time: conjugate gradients need several such arrays.
        n, k = labels.shape
        step = max(1, MOST_VALUES // n)
        parts = [
            conjugate_gradients(operator, (1 - alpha) * labels[:, start : min(start + step, k)])
            for start in range(0, k, step)
        ]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)

    def neighbourhood(self, queries: Array) -> "Neighbourhood":
        """Return the nearest points of the features of each query, with weights."""
        if self.components is not None:
            queries = queries @ self.components
        distances, indices = self._nearest(queries, min(self.k, self.points.shape[0]))
        xp, weights = array_namespace(distances), edge_weights(distances)
        return Neighbourhood(weights / xp.sum(weights, axis=1, keepdims=True), indices)


class Neighbourhood(NamedTuple):
    """The nearest points of queries: weights that sum to 1 in each row, and indices, both (q, k)."""

    weights: Array
    indices: Array

    def average(self, values: Array) -> Array:
        """Return the weighted mean of `values` (n, c) over the nearest points of each query, (q, c)."""
        xp = array_namespace(values)
        shape = (self.indices.shape[0], values.shape[1])
        total = xp.zeros(shape, dtype=values.dtype, device=device(values))
        for neighbour in range(self.indices.shape[1]):
            nearest = xp.take(values, self.indices[:, neighbour], axis=0)
            total = total + self.weights[:, neighbour, None] * nearest
        return total


def edge_weights(distances: Array) -> Array:
    """Return the weights of edges to nearest neighbours from their ascending distances (q, k)."""
    xp = array_namespace(distances)
    squares = distances * distances
    # Duplicates of a point are at distance 0; all its neighbours may be duplicates.
    reach = xp.where(squares[:, -1:] > 0, squares[:, -1:], xp.ones_like(squares[:, -1:]))
    return xp.exp(-DECAY * squares / reach)


def conjugate_gradients(
    operator: Callable[[Array], Array], right: Array, tolerance: float = 1e-5, max_iter: int = 500
) -> Array:
    """Solve ``operator(x) = right`` for every column, all at once (Hestenes and Stiefel 1952).

    Parameters
    ----------
    operator : callable
        A symmetric positive definite linear map from (n, c) to (n, c) that acts on each column.
    right : array of shape (n, c)
        Right-hand sides.
    tolerance : float
        Maximum norm of a column's residual, relative to its right-hand side.
    max_iter : int
        Maximum number of iterations; the last iterate is returned if it has not converged.

    Returns
    -------
    array of shape (n, c)
        The solution x.
    """
    xp = array_namespace(right)
    tiny = xp.finfo(right.dtype).smallest_normal
    solution = xp.zeros_like(right)
    residual = right
    direction = right
    square = xp.sum(residual * residual, axis=0)
    goal = tolerance**2 * square
    for _ in range(max_iter):
        # The stopping test is the only transfer to the host, one number per iteration.
        if not bool(xp.any(square > goal)):
            break
        image = operator(direction)
        # A converged column has a residual near 0 and no longer changes.
        step = square / (xp.sum(direction * image, axis=0) + tiny)
        solution = solution + step * direction
        residual = residual - step * image
        before, square = square, xp.sum(residual * residual, axis=0)
        direction = residual + square / (before + tiny) * direction
    return solution


def class_probabilities(spread: Array) -> Array:
    """Normalize the result of `NeighbourGraph.spread` to class probabilities, with equal mass per class.

    This is class mass normalization (Zhu et al. 2003, section 4) for equally frequent classes. Points that
    no label reaches get equal probabilities.
    """
    xp = array_namespace(spread)
    positive = xp.where(spread > 0, spread, xp.zeros_like(spread))
    mass = xp.sum(positive, axis=0)
    balanced = positive / xp.where(mass > 0, mass, xp.ones_like(mass))
    balanced = balanced + xp.finfo(spread.dtype).smallest_normal
    return balanced / xp.sum(balanced, axis=1, keepdims=True)
