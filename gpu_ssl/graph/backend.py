"""The seam between the graph and whoever finds neighbours and multiplies sparse matrices."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.svm.kernels import Array

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


def graph_backend(svm_backend: str) -> GraphBackend:
    """Return the backend that works on the arrays of the SVM backend ``sklearn`` or ``cuml``."""
    if svm_backend == "cuml":
        backend: GraphBackend = importlib.import_module("gpu_ssl.graph._cuml").CumlGraphBackend()
        return backend
    return SklearnGraphBackend()
