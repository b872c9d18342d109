"""Groups of what is linked are SciPy's connected components."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gpu_ssl.data.linked import linked_groups


@given(n=st.integers(1, 60), seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_groups_are_connected_components(n: int, seed: int, share: float) -> None:
    first, second = np.random.default_rng(seed).integers(0, n, (2, int(share * n)))
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(n, n))
    expected = connected_components(graph, directed=False)[1]
    found = linked_groups(n, first, second)
    pairs = np.unique(np.stack([found, expected]), axis=1)
    assert pairs.shape[1] == found.max() + 1 == expected.max() + 1


def test_a_long_chain_in_any_order_is_one_group() -> None:
    order = np.random.default_rng(0).permutation(5000)
    assert linked_groups(5000, order[:-1], order[1:]).max() == 0
