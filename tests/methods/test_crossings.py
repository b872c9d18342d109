"""From pixels to predicted classes in torch: all that comes to the host, and every wait, is counted.

The batched solver works on tensors wherever they lie, so a CPU shows what a GPU would have to send: each call
that brings values of a tensor to Python or NumPy is noted with the number of values.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.hog import HOG
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.encoders.sums import Sum
from gpu_ssl.methods import svm as svm_module
from gpu_ssl.methods.method import Classifier, Labelled, Options, fit_each, fit_method
from gpu_ssl.svm import _batched, smo
from gpu_ssl.svm import one_vs_one as one_vs_one_module
from gpu_ssl.svm._batched import BatchedBackend
from gpu_ssl.svm.model import OneVsOneModel
from tests.methods import CPU, view_of

SHAPE = (1, 8, 8)
N_TRAIN, N_TEST, N_LABELLED = 300, 60, 50

VALUES = ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__index__", "__array__")
POSITIONS = ("nonzero", "masked_select", "unique", "argwhere", "equal", "allclose")


class Crossings(TorchFunctionMode):
    """Notes what comes to the host: how many values, and how often a number of them has to be known."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: list[int] = []
        self.positions = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        to_host = name == "to" and "cpu" in args[1:]  # what goes to the device is given a torch.device
        if name in VALUES or name == "__dlpack__" or to_host:
            self.values.append(args[0].numel())
        elif name in POSITIONS or (name == "__getitem__" and _is_mask(args[1])):
            self.positions += 1
        return func(*args, **(kwargs or {}))


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool


def road(digits: Dataset) -> tuple[Classifier, np.ndarray, Crossings, Crossings]:  # type: ignore[type-arg]
    """Encode, fit and predict; return also what came to the host in fitting and in predicting."""
    encoder = Sum([Pixels(SHAPE), HOG(SHAPE)], [4.0, 3.0])
    train, test = (
        view_of(images, [encoder], BatchedBackend(CPU))
        for images in (digits.train.images[:N_TRAIN], digits.test.images[:N_TEST])
    )
    labels = digits.train.labels[:N_TRAIN]
    rows = labelled_indices(labels, N_LABELLED, 0, 0)
    with Crossings() as fitting:
        classifier = fit_method(train, Labelled(rows, labels[rows]), Options("svm", encoder="pixels+hog"))
    with Crossings() as predicting:
        classes = classifier.predict(test)
    return classifier, classes, fitting, predicting


def assert_resident(fitting: Crossings, predicting: Crossings) -> None:
    """Hold what crossed to what has to: iterations of pairs and single numbers, and predicted classes."""
    # Both parts of the features are finite; gamma; one number of iterations a pair, by two steps; on a CPU
    # also the largest exponent of the kernel, here and in prediction.
    assert Counter(fitting.values) == {1: 4, 45: 2}
    # The support vectors of each class, and the looks at whether all pairs have converged.
    assert 10 < fitting.positions < 20
    assert Counter(predicting.values) == {1: 3, N_TEST: 2}
    assert predicting.positions == 0


def test_predicted_classes_come_to_the_host_and_no_features(digits: Dataset) -> None:
    classifier, classes, fitting, predicting = road(digits)
    assert_resident(fitting, predicting)
    assert np.mean(classes == digits.test.labels[:N_TEST]) > 0.7
    with Crossings() as saving:
        tensors = classifier.tensors()
    assert len(saving.values) == 2 * len(tensors), "each array of the model once, by two steps"
    assert sum(saving.values) == 2 * sum(tensor.numel() for tensor in tensors.values())


def planted(function: Callable[..., Any], position: int) -> Callable[..., Any]:
    """Return a function that copies one of its arguments to the host, and else does the same."""

    def copies(*args: Any, **kwargs: Any) -> Any:
        given = args[position]
        (given[0] if isinstance(given, list | tuple) else given).detach().cpu()
        return function(*args, **kwargs)

    return copies


PLANTS: list[tuple[Any, str, int]] = [
    (OneVsOneModel, "predict", 1),
    (svm_module, "scale_gamma", 0),
    (_batched, "_all_values", 0),
    (one_vs_one_module, "_model", 1),
    (BatchedBackend, "receive", 1),
]


@pytest.mark.parametrize(("owner", "name", "position"), PLANTS, ids=[name for _, name, _ in PLANTS])
def test_a_planted_copy_is_found(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, position: int
) -> None:
    expected = road(digits)[1]
    monkeypatch.setattr(owner, name, planted(getattr(owner, name), position))
    _, classes, fitting, predicting = road(digits)
    assert np.array_equal(classes, expected), "nothing else is wrong with it"
    with pytest.raises(AssertionError):
        assert_resident(fitting, predicting)


def test_a_planted_wait_in_an_iteration_is_found(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    iterate = smo.Solver.iterate

    def waits(self: smo.Solver) -> None:
        iterate(self)
        bool(self.moves.any())

    monkeypatch.setattr(smo.Solver, "iterate", waits)
    with pytest.raises(AssertionError):
        assert_resident(*road(digits)[2:])


def test_more_splits_bring_no_more_features(digits: Dataset) -> None:
    """Three splits at once: three widths of the kernel, and iterations of all pairs together."""
    encoder = Pixels(SHAPE)
    train = view_of(digits.train.images[:N_TRAIN], [encoder], BatchedBackend(CPU))
    labels = digits.train.labels[:N_TRAIN]
    rows = [labelled_indices(labels, N_LABELLED, 0, split) for split in range(3)]
    own = [Labelled(some, labels[some]) for some in rows]
    with Crossings() as fitting:
        classifiers = list(fit_each(train, own, [Options("svm", encoder="pixels")] * 3))
    assert len(classifiers) == 3
    values = Counter(fitting.values)
    assert values.pop(3 * 45) == 2
    assert set(values) == {1}
    assert max(fitting.values) < N_LABELLED * encoder.width
