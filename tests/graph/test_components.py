"""Wide features are reduced before neighbours are searched; the nearest stay near."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_ssl.graph import components as components_module
from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph.components import N_COMPONENTS, leading_components
from gpu_ssl.graph.propagation import NeighbourGraph
from tests.graph.on_device import DeviceGraphBackend
from tests.svm.on_device import to_device, to_host

WIDTH = 3 * N_COMPONENTS


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components_module, "MANY", 300)


def features(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Points near a subspace of twenty dimensions, far from the origin."""
    rng = np.random.default_rng(seed)
    subspace = np.random.default_rng(1).normal(size=(20, WIDTH))
    points = rng.normal(size=(n, 20)) @ subspace + 0.01 * rng.normal(size=(n, WIDTH)) + 5
    return points.astype(np.float32)


def test_only_many_wide_points_are_reduced(few_are_many: None) -> None:
    points = features(300)
    assert leading_components(points[:299]) is None
    assert leading_components(points[:, : 2 * N_COMPONENTS - 1]) is None
    found = leading_components(points)
    assert found is not None
    assert found.shape == (WIDTH, N_COMPONENTS)
    assert found.dtype == points.dtype


def test_components_are_orthonormal_and_in_the_order_of_variance(few_are_many: None) -> None:
    points = features(400)
    found = leading_components(points)
    assert found is not None
    np.testing.assert_allclose(found.T @ found, np.eye(N_COMPONENTS), atol=1e-4)
    variances = (points @ found).var(axis=0)
    assert (np.diff(variances) <= 1e-3).all()
    assert variances[:20].sum() > 0.99 * points.var(axis=0).sum()


def test_neighbours_among_components_are_those_among_features(few_are_many: None) -> None:
    points, new = features(400), features(50, seed=2)
    narrow = NeighbourGraph.of_features(points, SklearnGraphBackend())
    wide = NeighbourGraph(points, SklearnGraphBackend())
    assert narrow.points.shape == (400, N_COMPONENTS)
    same = narrow.neighbourhood(new).indices == wide.neighbourhood(new).indices
    assert same.mean() > 0.99
    np.testing.assert_allclose(narrow.weights.toarray(), wide.weights.toarray(), atol=0.05)


def test_points_of_a_device_are_reduced_there(few_are_many: None) -> None:
    points = features(400)
    expected = leading_components(points)
    found = NeighbourGraph.of_features(to_device(points), DeviceGraphBackend()).components
    assert expected is not None
    assert found is not None
    there, here = to_host(to_device(points) @ found), points @ expected
    np.testing.assert_allclose(np.abs(there[:, :20]), np.abs(here[:, :20]), rtol=1e-3, atol=1e-2)
