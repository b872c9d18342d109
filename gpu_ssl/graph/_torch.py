"""Neighbour search and sparse matrices with torch, on the device of the points.

On a CPU, scikit-learn searches the same memory, because it is faster.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph.neighbours import Neighbours
from gpu_ssl.graph.search import search_blocks
from gpu_ssl.runtime import interop


class TorchGraphBackend:
    """Graph backend for torch tensors."""

    def index(self, points: Tensor) -> Callable[[Tensor, int], Neighbours]:
        """Index `points` for brute-force queries."""
        if points.device.type == "cpu":
            search = SklearnGraphBackend().index(interop.to_numpy(points))

            def nearest(queries: Tensor, k: int) -> Neighbours:
                return Neighbours(*map(torch.from_numpy, search(interop.to_numpy(queries), k)))

            return nearest
        return lambda queries, k: search_blocks(points, queries, k)

    def sparse(self, values: Tensor, rows: Tensor, columns: Tensor, n: int) -> "Sparse":
        """Return a sparse matrix that sums duplicate entries."""
        # Checking the indices would synchronize with the GPU; they come from the search and are valid.
        indices = torch.stack([rows, columns])
        return Sparse(torch.sparse_coo_tensor(indices, values, (n, n), check_invariants=False))


class Sparse:
    """A sparse tensor with the part of SciPy's matrix interface that the graph uses."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def T(self) -> "Sparse":  # noqa: N802
        """The transpose."""
        return Sparse(self.tensor.t())

    def __add__(self, other: "Sparse") -> "Sparse":
        return Sparse(self.tensor + other.tensor)

    def __matmul__(self, columns: Tensor) -> Tensor:
        return self.tensor @ columns

    def tocsr(self) -> "Sparse":
        """Return the matrix as CSR, with duplicate entries summed."""
        with warnings.catch_warnings():
            # torch warns once that CSR is in beta; only products with it are used.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support")
            return Sparse(self.tensor.coalesce().to_sparse_csr())


make = TorchGraphBackend
