"""Labels on a graph: the arithmetic against dense solves, pieces without labels, and new points."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph.propagation import (
    DECAY,
    NeighbourGraph,
    class_probabilities,
    conjugate_gradients,
)


def clouds(n: int, distance: float = 3.0, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Three clouds in a row, their points in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    points = rng.normal(size=(n, 4))
    points[:, 0] += distance * labels
    return points, labels


def one_hot(rows: list[int], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    matrix = np.zeros((len(labels), 3))
    matrix[rows, labels[rows]] = 1
    return matrix


def graph_of(points: NDArray[np.float64], k: int = 5) -> NeighbourGraph:
    return NeighbourGraph(points, SklearnGraphBackend(), k)


@settings(max_examples=20)
@given(n=st.integers(2, 40), k=st.integers(1, 8), seed=st.integers(0, 999))
def test_edges_are_those_of_the_nearest_neighbours_both_ways(n: int, k: int, seed: int) -> None:
    points, _ = clouds(n, seed=seed)
    weights = graph_of(points, k).weights.toarray()
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    expected = np.zeros((n, n))
    k = min(k, n - 1)
    for i in range(n):
        nearest = np.argsort(distances[i] + np.where(np.arange(n) == i, np.inf, 0))[:k]
        expected[i, nearest] = np.exp(-DECAY * (distances[i, nearest] / distances[i, nearest[-1]]) ** 2)
    np.testing.assert_allclose(weights, (expected + expected.T) / 2, atol=1e-6)


@settings(max_examples=20)
@given(alpha=st.sampled_from([0.1, 0.9, 0.99]), seed=st.integers(0, 999))
def test_spreading_is_the_dense_solution(alpha: float, seed: int) -> None:
    points, labels = clouds(60, seed=seed)
    graph = graph_of(points)
    weights = graph.weights.toarray()
    root = np.sqrt(weights.sum(axis=1))
    normalized = weights / root[:, None] / root[None]
    known = one_hot([0, 1, 2, 10, 20], labels)
    expected = (1 - alpha) * np.linalg.solve(np.eye(60) - alpha * normalized, known)
    np.testing.assert_allclose(graph.spread(known, alpha), expected, atol=1e-5)


def test_a_label_a_cloud_names_all_its_points_and_new_ones() -> None:
    points, labels = clouds(300, distance=8)
    graph = graph_of(points, 10)
    known = one_hot([0, 1, 2], labels)
    found = graph.spread(known, 0.99)
    assert (found.argmax(axis=1) == labels).mean() > 0.98
    new, their_labels = clouds(90, distance=8, seed=1)
    assert (graph.neighbourhood(new).average(found).argmax(axis=1) == their_labels).mean() > 0.98


def test_a_new_point_takes_the_value_of_the_point_it_lies_on() -> None:
    points, _ = clouds(30)
    values = np.arange(30.0)[:, None]
    extended = graph_of(points, 2).neighbourhood(points).average(values)
    # The second neighbour weighs exp(-DECAY) = 0.018, the first 1.
    np.testing.assert_allclose(extended[:, 0], values[:, 0], atol=0.6)
    np.testing.assert_allclose(graph_of(points, 4).neighbourhood(points).average(np.ones((30, 1))), 1)


def test_points_at_the_same_place_are_no_trouble() -> None:
    graph = graph_of(np.zeros((20, 3)), 4)
    assert np.isfinite(graph.weights.toarray()).all()
    known = np.zeros((20, 3))
    known[0, 1] = 1
    probabilities = class_probabilities(graph.spread(known, 0.97))
    assert np.isfinite(probabilities).all()
    assert np.isfinite(graph.neighbourhood(np.zeros((2, 3))).average(probabilities)).all()


def test_probabilities_give_classes_equal_mass_and_unreached_points_equal_shares() -> None:
    spread = np.array([[3.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, -1e-9, 2.0]])
    probabilities = class_probabilities(spread)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities[1], [0.2, 0.8, 0.0], atol=1e-12)
    np.testing.assert_allclose(probabilities[2], 1 / 3)
    np.testing.assert_allclose(probabilities[3], [0, 0, 1], atol=1e-12)


@settings(max_examples=20)
@given(n=st.integers(1, 20), columns=st.integers(1, 4), seed=st.integers(0, 999))
def test_conjugate_gradients_solve_every_column(n: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    matrix = root @ root.T + np.eye(n)
    right = rng.normal(size=(n, columns))
    right[:, 0] = 0
    found = conjugate_gradients(lambda x: matrix @ x, right, tolerance=1e-9)
    np.testing.assert_allclose(matrix @ found, right, atol=1e-6)
    assert not found[:, 0].any()


def test_twins_are_neighbours_of_each_other_and_not_of_themselves() -> None:
    points, _ = clouds(20)
    points[10:] = points[:10]
    weights = graph_of(points, 5).weights.toarray()
    assert not weights.diagonal().any()
    assert np.allclose(weights[np.arange(10), np.arange(10, 20)], 1)
