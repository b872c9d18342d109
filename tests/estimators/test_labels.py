"""Samples without a label count neither as right nor as wrong, and none is made a class by its dtype."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier

import gpu_ssl
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators.labels import class_name, encoded, is_labelled, labelled_accuracy, unmasked

X = np.zeros((6, 2))


@pytest.mark.parametrize(
    ("labels", "without"),
    [
        ([1, 1, 0, -1, 1, -1], -1),
        (["a", "a", "b", "", "a", "unlabelled"], ""),
        ([1.0, 1, 0, np.nan, 1, -1], -1),
    ],
)
def test_accuracy_is_that_of_labelled_samples(labels: list[object], without: object) -> None:
    y = np.array(labels)
    model = DummyClassifier().fit(X, y[[0, 0, 0, 0, 0, 0]])
    assert labelled_accuracy(model, X, y) == labelled_accuracy(model, X.tolist(), y) == 3 / 4
    if without != -1 or y.dtype.kind == "i":  # scikit-learn takes no NaN
        assert model.score(X, y) == 3 / 6
    assert np.isnan(labelled_accuracy(model, X, np.full_like(y, without)))
    assert gpu_ssl.labelled_accuracy is labelled_accuracy


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint64])
def test_a_dtype_that_cannot_hold_minus_one_is_refused_where_that_matters(dtype: type) -> None:
    y: NDArray[np.int64] = np.array([0, 1, -1])
    with pytest.raises(UsageError, match=r"give labels as int64, with -1"):
        is_labelled(y.astype(dtype))
    assert is_labelled(np.array([0, 1], dtype)).all()


@pytest.mark.parametrize(
    ("labels", "classes"), [([7, 3, None, 7], [3, 7]), ([True, False, None, True], [False, True])]
)
def test_none_beside_numbers_is_no_label(labels: list[object], classes: list[object]) -> None:
    """Such labels are an array of objects, which scikit-learn takes for no classes."""
    found, positions = encoded(np.array(labels, dtype=object))
    assert found.tolist() == classes
    assert found.dtype.kind == ("b" if isinstance(classes[0], bool) else "i")
    assert positions.tolist() == [1, 0, -1, 1]


def test_words_beside_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"words and other labels \('a', 1\)"):
        encoded(np.array(["a", 1, None], dtype=object))


def test_masked_labels_are_no_labels() -> None:
    y = np.ma.masked_array([0, 1, 1, 0], mask=[False, False, True, True])
    classes, positions = encoded(np.asarray(unmasked(y)))
    assert (classes.tolist(), positions.tolist()) == ([0, 1], [0, 1, -1, -1])

    class Says:
        def predict(self, X: np.ndarray) -> np.ndarray:
            return np.zeros(len(X), int)

    assert labelled_accuracy(Says(), np.zeros((4, 2)), y) == 0.5


def test_a_column_of_labels_is_compared_row_by_row() -> None:
    y = np.array([0, 1, 1, 1, 0, 1])
    model = DummyClassifier().fit(X, y)
    with pytest.warns(UserWarning, match="column-vector y"):
        assert labelled_accuracy(model, X, y[:, None]) == labelled_accuracy(model, X, y) == 4 / 6


@pytest.mark.parametrize(
    ("label", "name"),
    [(1.0, "1"), (np.float32(-2), "-2"), (0.5, "0.5"), (7, "7"), (True, "True"), ("1.0", "1.0")],
)
def test_whole_numbers_name_a_class_without_a_fraction(label: object, name: str) -> None:
    """pandas makes floats of whole numbers where others are missing."""
    assert class_name(label) == name
