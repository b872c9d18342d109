"""Nearest neighbours and sparse matrices in torch, on the device of the points.

On a CPU scikit-learn finds the neighbours, in the same memory; it is faster there.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph.neighbours import Neighbours
from gpu_ssl.runtime import interop
from gpu_ssl.runtime.device import free_bytes

DEVICE_SHARE = 0.25
"""Part of a GPU's free memory that distances may take at a time."""

MOST_DISTANCES = 2**28
"""Distances at a time at most: more would not be faster."""


class TorchGraphBackend:
    """Works on tensors."""

    def index(self, points: Tensor) -> Callable[[Tensor, int], Neighbours]:
        """Index `points` for queries by exhaustive search."""
        if points.device.type == "cpu":
            search = SklearnGraphBackend().index(interop.to_numpy(points))

            def nearest(queries: Tensor, k: int) -> Neighbours:
                return Neighbours(*map(torch.from_numpy, search(interop.to_numpy(queries), k)))

            return nearest
        return lambda queries, k: search_blocks(points, queries, k)

    def sparse(self, values: Tensor, rows: Tensor, columns: Tensor, n: int) -> "Sparse":
        """Make a sparse matrix, which sums what falls on the same place."""
        # Checks would wait for the GPU, and rows and columns come from the search.
        indices = torch.stack([rows, columns])
        return Sparse(torch.sparse_coo_tensor(indices, values, (n, n), check_invariants=False))


def search_blocks(points: Tensor, queries: Tensor, k: int, most: int | None = None) -> Neighbours:
    """Find the k nearest of `points` (n, d) for each query (q, d), a block of queries after the other.

    Squares of distances come from one matrix product, whose rounding would let near twins look like one; so
    the distances of the nearest are worked out anew, and order them.
    """
    centre = points.mean(dim=0)
    centred, squares = points - centre, (points - centre).square().sum(dim=1)
    if most is None:
        most = min(MOST_DISTANCES, int(DEVICE_SHARE * free_bytes(points.device)) // (2 * 4))
    distances, indices = [], []
    for block in torch.split(queries, max(1, most // len(points))):
        near = torch.addmm(squares, block - centre, centred.T, alpha=-2)
        found = near.topk(k, dim=1, largest=False).indices
        apart = (points[found] - block[:, None, :]).square().sum(dim=2).sqrt()
        ordered = apart.sort(dim=1, stable=True)
        distances.append(ordered.values)
        indices.append(found.gather(1, ordered.indices))
    return Neighbours(torch.cat(distances), torch.cat(indices))


class Sparse:
    """A sparse tensor with what the graph asks of a matrix of SciPy."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def T(self) -> "Sparse":  # noqa: N802
        """Its transpose."""
        return Sparse(self.tensor.t())

    def __add__(self, other: "Sparse") -> "Sparse":
        return Sparse(self.tensor + other.tensor)

    def __matmul__(self, columns: Tensor) -> Tensor:
        return self.tensor @ columns

    def tocsr(self) -> "Sparse":
        """Return it as CSR, with one value a place."""
        with warnings.catch_warnings():
            # torch says once that CSR is a beta; products with it are all that is used.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support")
            return Sparse(self.tensor.coalesce().to_sparse_csr())


make = TorchGraphBackend
