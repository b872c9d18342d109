"""Edge weights, solves and votes stay where the latents are."""

from collections.abc import Callable
from typing import Any

import array_api_strict as xp
import numpy as np

from gpu_ssl.graph import propagation
from gpu_ssl.graph._sklearn import SklearnGraphBackend
from gpu_ssl.graph.backend import Neighbours
from gpu_ssl.graph.propagation import NeighbourGraph, class_probabilities
from gpu_ssl.svm.kernels import Array
from tests.graph.test_propagation import clouds, graph_of, one_hot
from tests.svm.on_device import DEVICE, to_device, to_host


class DenseOnDevice:
    """A matrix with what the graph asks of a sparse one, on the device."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __matmul__(self, columns: Array) -> Array:
        return self.array @ columns

    def __add__(self, other: "DenseOnDevice") -> "DenseOnDevice":
        return DenseOnDevice(self.array + other.array)

    @property
    def T(self) -> "DenseOnDevice":  # noqa: N802
        return DenseOnDevice(self.array.T)

    def tocsr(self) -> "DenseOnDevice":
        return self


class DeviceGraphBackend:
    """Stands for cuML and CuPy: takes arrays of the device alone, and gives such."""

    def index(self, points: Array) -> Callable[[Array, int], Neighbours]:
        search = SklearnGraphBackend().index(to_host(points))

        def nearest(queries: Array, k: int) -> Neighbours:
            return Neighbours(*(to_device(part) for part in search(to_host(queries), k)))

        return nearest

    def sparse(self, values: Array, rows: Array, columns: Array, n: int) -> Any:
        assert {values.device, rows.device, columns.device} == {DEVICE}
        matrix = SklearnGraphBackend().sparse(*(to_host(part) for part in (values, rows, columns)), n)
        return DenseOnDevice(to_device(matrix.toarray()))


def test_the_graph_works_on_the_device_as_on_the_host() -> None:
    points, labels = clouds(40)
    known, new = one_hot([0, 1, 2, 7], labels), clouds(9, seed=1)[0]
    on_host, on_device = graph_of(points), NeighbourGraph(to_device(points), DeviceGraphBackend(), 5)
    for solve in (lambda graph, y: graph.spread(y, 0.97), lambda graph, y: graph.poisson(y)):
        expected = solve(on_host, known)
        found = solve(on_device, to_device(known))
        assert found.device == DEVICE
        np.testing.assert_allclose(to_host(found), expected, atol=1e-8)
        votes = on_device.neighbourhood(to_device(new)).average(class_probabilities(found))
        assert votes.device == DEVICE
        np.testing.assert_allclose(
            to_host(votes), on_host.neighbourhood(new).average(class_probabilities(expected)), atol=1e-8
        )


def test_one_number_an_iteration_is_all_that_comes_to_the_host(monkeypatch: Any) -> None:
    asked = []
    honest = type(xp.asarray(0)).__bool__
    monkeypatch.setattr(type(xp.asarray(0)), "__bool__", lambda array: asked.append(1) or honest(array))
    points, labels = clouds(40)
    graph = NeighbourGraph(to_device(points), DeviceGraphBackend(), 5)
    products = []
    monkeypatch.setattr(
        propagation,
        "conjugate_gradients",
        lambda operator, right: honest_solve(lambda x: products.append(1) or operator(x), right),
    )
    graph.spread(to_device(one_hot([0, 1, 2], labels)), 0.97)
    assert len(asked) == len(products) + 1


honest_solve = propagation.conjugate_gradients
