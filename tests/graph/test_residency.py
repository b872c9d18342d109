"""Edge weights, solves and votes stay where the latents are."""

from typing import Any

import array_api_strict as xp
import numpy as np

from gpu_ssl.graph import propagation
from gpu_ssl.graph.propagation import NeighbourGraph, class_probabilities
from tests.graph.on_device import DeviceGraphBackend
from tests.graph.test_propagation import clouds, graph_of, one_hot
from tests.svm.on_device import DEVICE, to_device, to_host


def test_the_graph_works_on_the_device_as_on_the_host() -> None:
    points, labels = clouds(40)
    known, new = one_hot([0, 1, 2, 7], labels), clouds(9, seed=1)[0]
    on_host, on_device = graph_of(points), NeighbourGraph(to_device(points), DeviceGraphBackend(), 5)
    expected, found = on_host.spread(known, 0.97), on_device.spread(to_device(known), 0.97)
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
