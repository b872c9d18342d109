"""The interface of graph backends: nearest neighbours and sparse matrices."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from gpu_ssl.runtime.arrays import Array

Sparse = Any
"""A sparse matrix with the interface of scipy.sparse: from SciPy, CuPy or torch."""


class Neighbours(NamedTuple):
    """The nearest points of each query in ascending order: Euclidean distances and int64 indices, (q, k)."""

    distances: Array
    indices: Array


class GraphBackend(Protocol):
    """Neighbour search and sparse matrices for the arrays of one library."""

    def index(self, points: Array) -> Callable[[Array, int], Neighbours]:
        """Return a function that takes queries (q, d) and k, and returns the k nearest of `points` (n, d)."""

    def sparse(self, values: Array, rows: Array, columns: Array, n: int) -> Sparse:
        """Return the (n, n) matrix in CSR form with `values` at `rows` and `columns`, all of shape (m,)."""
