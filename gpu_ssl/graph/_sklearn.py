"""Neighbour search with scikit-learn and sparse matrices with SciPy.

Among few points torch searches and matrices are dense: both libraries take longer to import.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.graph.neighbours import Neighbours
from gpu_ssl.graph.search import search_blocks

FEW = 1000
"""Maximum number of points among which torch searches, by all distances."""

MOST_DISTANCES = 2**22
"""Maximum number of distances that torch works out at a time."""


class SklearnGraphBackend:
    """Graph backend for NumPy arrays, on all cores.

    Parameters
    ----------
    few : int
        Points up to which neither scikit-learn nor SciPy is used.
    """

    def __init__(self, few: int = FEW) -> None:
        self.few = few

    def index(self, points: NDArray[np.float32]) -> Callable[[NDArray[np.float32], int], Any]:
        """Index `points` for brute-force queries: exact, with one matrix product per block."""
        if len(points) <= self.few:
            own = torch.from_numpy(np.ascontiguousarray(points))
            return lambda queries, k: _search(own, queries, k)
        from sklearn.neighbors import NearestNeighbors

        # scikit-learn is many times slower for column-major points.
        search = NearestNeighbors(algorithm="brute").fit(np.ascontiguousarray(points))

        def nearest(queries: NDArray[np.float32], k: int) -> Neighbours:
            distances, indices = search.kneighbors(np.ascontiguousarray(queries), k)
            return Neighbours(distances.astype(points.dtype), indices.astype(np.int64))

        return nearest

    def sparse(self, values: Any, rows: Any, columns: Any, n: int) -> Any:
        """Return a CSR matrix, in which duplicate entries are summed."""
        if n <= self.few:
            matrix = np.zeros((n, n), values.dtype)
            np.add.at(matrix, (rows, columns), values)
            return Dense(matrix)
        from scipy.sparse import csr_matrix

        return csr_matrix((values, (rows, columns)), shape=(n, n))


class Dense:
    """A matrix with the part of SciPy's interface that the graph uses."""

    def __init__(self, matrix: NDArray[Any]) -> None:
        self.matrix = matrix

    @property
    def T(self) -> "Dense":  # noqa: N802
        """The transpose."""
        return Dense(self.matrix.T)

    def __add__(self, other: "Dense") -> "Dense":
        return Dense(self.matrix + other.matrix)

    def __matmul__(self, columns: NDArray[Any]) -> NDArray[Any]:
        product: NDArray[Any] = self.matrix @ columns
        return product

    def tocsr(self) -> "Dense":
        """Return the matrix itself."""
        return self

    def toarray(self) -> NDArray[Any]:
        """Return the matrix as an array."""
        return self.matrix


def _search(points: torch.Tensor, queries: NDArray[np.float32], k: int) -> Neighbours:
    found = search_blocks(points, torch.from_numpy(np.ascontiguousarray(queries)), k, MOST_DISTANCES)
    return Neighbours(found.distances.numpy(), found.indices.numpy())


make = SklearnGraphBackend
