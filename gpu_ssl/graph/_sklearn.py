"""scikit-learn's neighbours and SciPy's sparse matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.graph.neighbours import Neighbours


class SklearnGraphBackend:
    """Works on NumPy arrays, on all cores."""

    def index(self, points: NDArray[np.float32]) -> Callable[[NDArray[np.float32], int], Any]:
        """Index `points` for queries by exhaustive search, which is exact and one matrix product a block."""
        from sklearn.neighbors import NearestNeighbors

        # Column-major points would send scikit-learn to a path that is many times slower.
        search = NearestNeighbors(algorithm="brute").fit(np.ascontiguousarray(points))

        def nearest(queries: NDArray[np.float32], k: int) -> Neighbours:
            distances, indices = search.kneighbors(np.ascontiguousarray(queries), k)
            return Neighbours(distances.astype(points.dtype), indices.astype(np.int64))

        return nearest

    def sparse(self, values: Any, rows: Any, columns: Any, n: int) -> Any:
        """Make a CSR matrix; SciPy's sums what falls on the same place."""
        from scipy.sparse import csr_matrix

        return csr_matrix((values, (rows, columns)), shape=(n, n))


make = SklearnGraphBackend
