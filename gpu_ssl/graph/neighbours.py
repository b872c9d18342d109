"""What a library does for the graph: it finds nearest neighbours and multiplies sparse matrices."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from gpu_ssl.runtime.arrays import Array

Sparse = Any
"""A sparse matrix with the interface of scipy.sparse: SciPy's own on the CPU, CuPy's on a GPU."""


class Neighbours(NamedTuple):
    """Nearest points of each query, nearest first: Euclidean distances and int64 indices, both (q, k)."""

    distances: Array
    indices: Array


class GraphBackend(Protocol):
    """Finds neighbours and makes sparse matrices, on arrays of its own library."""

    def index(self, points: Array) -> Callable[[Array, int], Neighbours]:
        """Return a function that takes queries (q, d) and k, and gives the k nearest of `points` (n, d)."""

    def sparse(self, values: Array, rows: Array, columns: Array, n: int) -> Sparse:
        """Return the (n, n) matrix in CSR form with `values` at `rows` and `columns`, all of shape (m,)."""
