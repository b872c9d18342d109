"""Connected components."""

import numpy as np
from numpy.typing import NDArray


def linked_groups(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected component of each of `n` nodes, (n,), numbered from 0.

    Edges connect `first[i]` and `second[i]`. The import of SciPy's `connected_components` takes longer than
    this for the few edges here.
    """
    group = np.arange(n)
    while True:
        smallest = np.minimum(group[first], group[second])
        joined = group.copy()
        for ends in (first, second):
            np.minimum.at(joined, ends, smallest)
            np.minimum.at(joined, group[ends], smallest)  # Halves the length of chains.
        joined = joined[joined]
        if (joined == group).all():
            return np.unique(group, return_inverse=True)[1].astype(np.int64)
        group = joined
