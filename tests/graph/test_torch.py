"""Neighbours and sparse matrices in torch are those of scikit-learn and SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph._torch import TorchGraphBackend
from gpu_ssl.graph.backend import graph_backend
from gpu_ssl.graph.propagation import NeighbourGraph
from gpu_ssl.graph.search import search_blocks
from tests.training.fake_cuda import fake_cuda


@given(n=st.integers(20, 80), k=st.integers(1, 10), seed=st.integers(0, 999), most=st.integers(1, 2000))
def test_the_nearest_are_found_in_blocks_of_any_size(n: int, k: int, seed: int, most: int) -> None:
    """Far from the origin, where squares of distances cancel, and with twins."""
    rng = np.random.default_rng(seed)
    points = (rng.normal(size=(n, 5)) + 30).astype(np.float32)
    points[n // 2] = points[0]
    queries = np.concatenate([points[:7], rng.normal(size=(5, 5)).astype(np.float32) + 30])
    expected = SklearnGraphBackend(few=0).index(points.astype(np.float64))(queries.astype(np.float64), k)
    found = search_blocks(torch.from_numpy(points), torch.from_numpy(queries), k, most)
    np.testing.assert_allclose(found.distances, expected.distances, atol=2e-3)
    named = np.linalg.norm(points[found.indices.numpy()] - queries[:, None], axis=2)
    np.testing.assert_allclose(named, found.distances, atol=1e-4)
    assert (np.diff(found.distances.numpy(), axis=1) >= 0).all()


def test_labels_spread_as_on_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 4)).astype(np.float32)
    labels = np.zeros((200, 3), np.float32)
    labels[np.arange(9), np.arange(9) % 3] = 1
    host, torch_own = SklearnGraphBackend(few=0), graph_backend("batched")
    assert isinstance(torch_own, TorchGraphBackend)
    expected = NeighbourGraph(points, host).spread(labels, 0.9)
    graph = NeighbourGraph(torch.from_numpy(points), torch_own)
    np.testing.assert_allclose(graph.spread(torch.from_numpy(labels), 0.9), expected, atol=1e-5)
    near = graph.neighbourhood(torch.from_numpy(points[:5]))
    np.testing.assert_allclose(
        near.average(torch.from_numpy(labels)),
        NeighbourGraph(points, host).neighbourhood(points[:5]).average(labels),
        atol=1e-5,
    )


def test_a_search_stays_on_cuda() -> None:
    with fake_cuda():
        points = torch.zeros(50, 4, device="cuda")
        found = search_blocks(points, points[:20], 3, most=500)
        assert {part.device.type for part in found} == {"cuda"}
        with pytest.raises(RuntimeError):
            search_blocks(points, points.cpu() + 0, 3, most=500)


@given(n=st.integers(3, 60), seed=st.integers(0, 999))
def test_few_points_need_neither_scikit_learn_nor_scipy(n: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    labels = np.eye(n, 3, dtype=np.float32)
    few, many = (NeighbourGraph(points, SklearnGraphBackend(most), k=5) for most in (n, 0))
    np.testing.assert_allclose(few.weights.toarray(), many.weights.toarray(), atol=1e-5)
    np.testing.assert_allclose(few.spread(labels, 0.9), many.spread(labels, 0.9), atol=1e-4)
    for found, expected in zip(few.neighbourhood(points[:2]), many.neighbourhood(points[:2]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_outliers_do_not_hide_neighbours() -> None:
    """An outlier moves the mean, and float32 squares of large coordinates lose precision."""
    points = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    points[:2] = 1e6
    expected = SklearnGraphBackend(few=0).index(points.astype(np.float64))(points[2:].astype(np.float64), 10)
    found = search_blocks(torch.from_numpy(points), torch.from_numpy(points[2:]), 10, 10**6)
    np.testing.assert_allclose(found.distances, expected.distances, atol=1e-4)
