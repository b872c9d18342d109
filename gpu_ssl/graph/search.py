"""Exact search of nearest neighbours with torch, on the device of the points."""

import torch
from torch import Tensor

from gpu_ssl.graph.neighbours import Neighbours
from gpu_ssl.runtime.device import free_bytes

DEVICE_SHARE = 0.25
"""Maximum fraction of a GPU's free memory for a block of distances."""

MOST_DISTANCES = 2**28
"""Maximum number of distances per block; larger blocks are not faster."""


SAMPLED = 10_000
"""Number of points whose median stands for that of all."""


def middle(points: Tensor) -> Tensor:
    """Return the median of each coordinate of points (n, d), (d,); of many points, of some.

    Squared distances are differences of squares, which lose digits far from the origin. Outliers move a mean
    away from all points, but not a median.
    """
    some = points[:: -(-len(points) // SAMPLED)]
    # Not median(), whose CUDA kernel is refused by torch.use_deterministic_algorithms().
    return some.sort(dim=0).values[len(some) // 2]


def search_blocks(points: Tensor, queries: Tensor, k: int, most: int | None = None) -> Neighbours:
    """Return the k nearest of `points` (n, d) for each query (q, d), in blocks of queries.

    Candidates come from squared distances by one matrix product. Its rounding cannot separate nearly equal
    points, so the distances to the candidates are recomputed directly, and order them.
    """
    centre = middle(points)
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
