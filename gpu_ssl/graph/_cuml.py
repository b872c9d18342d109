"""Neighbour search with cuML and sparse matrices with CuPy, on the GPU."""

from collections.abc import Callable

import cupy
import cupyx.scipy.sparse
from cuml.neighbors import NearestNeighbors

from gpu_ssl.graph.neighbours import Neighbours, Sparse
from gpu_ssl.runtime.arrays import Array


class CumlGraphBackend:
    """Graph backend for CuPy arrays on the first visible GPU."""

    def index(self, points: Array) -> Callable[[Array, int], Neighbours]:
        """Index `points` for queries by exhaustive search."""
        search = NearestNeighbors(algorithm="brute", metric="euclidean", output_type="cupy").fit(points)

        def nearest(queries: Array, k: int) -> Neighbours:
            distances, indices = search.kneighbors(queries, n_neighbors=k)
            return Neighbours(distances.astype(points.dtype), indices.astype(cupy.int64))

        return nearest

    def sparse(self, values: Array, rows: Array, columns: Array, n: int) -> Sparse:
        """Return a CSR matrix, built through COO, in which CuPy sums duplicate entries."""
        return cupyx.scipy.sparse.coo_matrix((values, (rows, columns)), shape=(n, n)).tocsr()


make = CumlGraphBackend
