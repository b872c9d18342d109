"""Neighbour search with scikit-learn and sparse matrices with SciPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.graph.neighbours import Neighbours


class SklearnGraphBackend:
    """Graph backend for NumPy arrays, on all cores."""

    def index(self, points: NDArray[np.float32]) -> Callable[[NDArray[np.float32], int], Any]:
        """Index `points` for brute-force queries: exact, with one matrix product per block."""
        from sklearn.neighbors import NearestNeighbors

        # scikit-learn is many times slower for column-major points.
        search = NearestNeighbors(algorithm="brute").fit(np.ascontiguousarray(points))

        def nearest(queries: NDArray[np.float32], k: int) -> Neighbours:
            distances, indices = search.kneighbors(np.ascontiguousarray(queries), k)
            return Neighbours(distances.astype(points.dtype), indices.astype(np.int64))

        return nearest

    def sparse(self, values: Any, rows: Any, columns: Any, n: int) -> Any:
        """Return a CSR matrix, in which SciPy sums duplicate entries."""
        from scipy.sparse import csr_matrix

        return csr_matrix((values, (rows, columns)), shape=(n, n))


make = SklearnGraphBackend
