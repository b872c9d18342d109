"""What a method computes stays on the device: features go in, and only predictions come out to the host.

The device is array-api-strict's, which NumPy cannot read. DeviceBackend stands for cuML, which solves the
pairs; DeviceGraphBackend for cuML's neighbours and CuPy's sparse matrices.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.sums import Sum
from gpu_ssl.methods import graph as graph_module
from gpu_ssl.methods import svm as svm_module
from gpu_ssl.methods import view as view_module
from gpu_ssl.methods.graph import GraphClassifier
from gpu_ssl.methods.method import Classifier, Labelled, Options, fit_method
from gpu_ssl.methods.svm import SVMClassifier
from gpu_ssl.methods.validation import cross_validate, folds_of
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.arrays import Array
from tests.graph.on_device import DeviceGraphBackend
from tests.methods import view_of
from tests.svm.on_device import DEVICE, DeviceBackend, StrictArray, to_device, to_host

SHAPE = (1, 8, 8)
N_TRAIN, N_TEST, N_LABELLED = 300, 60, 50


class Backend(DeviceBackend):
    """Counts what crosses: arrays that go to the device, and that come to the host."""

    def __init__(self) -> None:
        self.went: list[tuple[int, ...]] = []
        self.came: list[tuple[int, ...]] = []

    def receive(self, latents: Tensor) -> Array:
        return to_device(latents.numpy())

    def from_host(self, array: NDArray[Any]) -> Array:
        self.went.append(array.shape)
        return super().from_host(array)

    def to_host(self, array: Array) -> NDArray[Any]:
        assert array.device == DEVICE
        self.came.append(array.shape)
        return super().to_host(array)


@contextmanager
def values_counted() -> Iterator[list[str]]:
    """Note each time Python asks an array for its value: a GPU would be waited for."""
    asked: list[str] = []

    def counted(name: str) -> Callable[[Array], Any]:
        honest = getattr(StrictArray, name)

        def ask(array: Array) -> Any:
            asked.append(name)
            return honest(array)

        return ask

    names = ("__float__", "__int__", "__bool__", "__complex__", "__index__")
    with patch.multiple(StrictArray, **{name: counted(name) for name in names}):
        yield asked


def encoder_of() -> Sum:
    return Sum([Pixels(SHAPE), HOG(SHAPE)], [4.0, 3.0])


def views(digits: Dataset, encoder: Encoder, backend: Any = None) -> tuple[View, View]:
    train, test = digits.train.images[:N_TRAIN], digits.test.images[:N_TEST]
    return view_of(train, [encoder], backend), view_of(test, [encoder], backend)


def labelled_of(digits: Dataset) -> Labelled:
    labels = digits.train.labels[:N_TRAIN]
    rows = labelled_indices(labels, N_LABELLED, 0, 0)
    return Labelled(rows, labels[rows])


def options_of(method: str) -> Options:
    return Options(method, encoder="pixels+hog")


@pytest.fixture(autouse=True)
def graph_on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend_of(name: str) -> Any:
        return DeviceGraphBackend()

    monkeypatch.setattr(view_module, "graph_backend", backend_of)


def on_host(digits: Dataset, method: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Classifier, View]:
    """Fit the same with NumPy."""
    from gpu_ssl.graph.backend import graph_backend

    monkeypatch.setattr(view_module, "graph_backend", graph_backend)
    train, test = views(digits, encoder_of())
    return fit_method(train, labelled_of(digits), options_of(method)), test


@pytest.mark.parametrize("method", ["svm", "graph"])
def test_only_predictions_come_to_the_host(
    digits: Dataset, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And they are those of NumPy."""
    backend = Backend()
    train, test = views(digits, encoder_of(), backend)
    with values_counted() as asked:
        classifier = fit_method(train, labelled_of(digits), options_of(method))
        fitting, came_in_fit = len(asked), list(backend.came)
        classes = classifier.predict(test)
        decisions = classifier.decisions(test)
    assert came_in_fit == []
    if method == "svm":
        assert isinstance(classifier, SVMClassifier)
        # The width of the kernel is one number of all points.
        assert (fitting, asked) == (1, ["__float__"])
        assert backend.came == [(N_TEST,), (N_TEST, 45)]
        # The orders by class are known to the host.
        assert all(len(shape) == 1 for shape in backend.went)
        learned = [classifier.model.support_vectors, classifier.model.duals]
    else:
        assert isinstance(classifier, GraphClassifier)
        # Conjugate gradients check convergence once per iteration; votes need no value.
        assert set(asked) == {"__bool__"}
        assert 1 < fitting == len(asked) < 100
        assert backend.came == [(N_TEST,), (N_TEST, 10)]
        assert backend.went == [(N_TRAIN, 10)]
        learned = [classifier.probabilities, classifier.graph.points]
    assert {array.device for array in learned} == {DEVICE}
    expected, view = on_host(digits, method, monkeypatch)
    assert np.array_equal(classes, expected.predict(view))
    np.testing.assert_allclose(decisions, expected.decisions(view), atol=1e-4)
    for name, tensor in expected.tensors().items():
        np.testing.assert_allclose(classifier.tensors()[name], tensor, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("method", ["svm", "graph"])
def test_cross_validation_stays_on_the_device(digits: Dataset, method: str) -> None:
    """As often as it fits and asks: of each fold the answers come out, and no features."""
    backend = Backend()
    train, _ = views(digits, encoder_of(), backend)
    labelled, options = labelled_of(digits), options_of(method)
    folds = folds_of(labelled, options)
    judged = cross_validate(train, labelled, options, folds)
    widths = (45, 10)[method == "graph"]
    checks = [len(check) for _, check in folds]
    assert backend.came == [(n, widths) for n in checks]
    assert sorted(judged.positions) == list(range(N_LABELLED))


PLANTS: list[tuple[Any, str, Callable[..., Any], str, str]] = [
    (
        SVMClassifier,
        "predict",
        SVMClassifier.predict,
        "self.model.predict(points)",
        "self.model.predict(np.asarray(points))",
    ),
    (
        svm_module,
        "fit_svms",
        svm_module.fit_svms,
        "Task(own, labels",
        "Task(np.asarray(own), labels",
    ),
    (
        GraphClassifier,
        "_votes",
        GraphClassifier._votes,
        ".average(self.probabilities)",
        ".average(np.asarray(self.probabilities))",
    ),
    (
        graph_module,
        "spread_labels",
        graph_module.spread_labels,
        "view.backend.from_host(labels)",
        "labels",
    ),
    (View, "points", View.points, "self.backend.receive(features)", "features.numpy()"),
]


@pytest.mark.parametrize(
    ("owner", "name", "function", "code", "planted"), PLANTS, ids=[name for _, name, *_ in PLANTS]
)
def test_a_planted_copy_is_found(
    digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    function: Callable[..., Any],
    code: str,
    planted: str,
) -> None:
    """The first test would fail: each of these is right with NumPy, and raises on the device."""
    method = "graph" if function.__module__ == graph_module.__name__ else "svm"
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(code) == 1
    scope = dict(inspect.getmodule(function).__dict__, np=np)  # type: ignore[union-attr]
    exec(compile(ast.parse(source.replace(code, planted)), "<planted>", "exec"), scope)
    expected, view = on_host(digits, method, monkeypatch)
    classes = expected.predict(view)
    monkeypatch.setattr(owner, name, scope[function.__name__])
    again, view = on_host(digits, method, monkeypatch)
    assert np.array_equal(again.predict(view), classes), "on NumPy nothing is wrong with it"
    monkeypatch.setattr(view_module, "graph_backend", lambda name: DeviceGraphBackend())
    train, test = views(digits, encoder_of(), Backend())
    with pytest.raises((RuntimeError, ValueError, TypeError, AttributeError, AssertionError)):
        fit_method(train, labelled_of(digits), options_of(method)).predict(test)


def test_what_comes_back_is_what_lies_there() -> None:
    """The stand-in itself: NumPy cannot read its arrays unless asked properly."""
    array = to_device(np.arange(3.0))
    assert np.array_equal(to_host(array), [0, 1, 2])
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        np.asarray(array)
