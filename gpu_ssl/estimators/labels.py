"""Which labels are labels, and the accuracy on samples that carry one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from gpu_ssl.data.labels import is_no_label
from gpu_ssl.data.own import UNLABELLED
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators.embeddings import labels_on_host


def labelled_accuracy(estimator: Any, X: Any, y: Any) -> float:
    """Return the accuracy of a classifier on those samples that carry a label; a scorer of scikit-learn.

    Parameters
    ----------
    estimator : classifier
        Fitted.
    X : array of shape (n, ...)
        Samples.
    y : array of shape (n,)
        Labels; -1, NaN, None, a masked one, an empty word or one like "unlabelled" stands for none.

    Returns
    -------
    float
        NaN where no sample carries a label.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from gpu_ssl import SemiSupervisedClassifier, labelled_accuracy
    >>> # cross_val_score(SemiSupervisedClassifier(), X, y, scoring=labelled_accuracy)
    """
    labels = labels_of(y)
    known = np.flatnonzero(is_labelled(labels))
    if not len(known):
        return float("nan")
    return float(np.mean(np.asarray(estimator.predict(_safe_indexing(X, known))) == labels[known]))


def labels_of(y: Any) -> NDArray[Any]:
    """Return labels (n,) from an array of any library, a list, a column, or a masked array."""
    labels: NDArray[Any] = column_or_1d(unmasked(labels_on_host(y)), warn=True)
    return labels


def class_name(label: object) -> str:
    """Return the name of a class: a whole number without a fraction, as labels with NaN are floats."""
    whole = isinstance(label, float | np.floating) and float(label).is_integer()
    return str(int(label) if whole else label)  # type: ignore[call-overload]


def unmasked(y: Any) -> Any:
    """Return a masked array of NumPy as an array of objects, with None for masked entries; else `y`."""
    if not isinstance(y, np.ma.MaskedArray):
        return y
    labels = y.data.astype(object)
    labels[np.ma.getmaskarray(y)] = None
    return labels


def encoded(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted classes, and the position of each label (n,) among them, `UNLABELLED` where none is.

    Raises
    ------
    UsageError
        If there are fewer than two classes, or some labels are words and others are not.
    ValueError
        If the labels are not classes, such as fractions.
    """
    known = is_labelled(labels)
    named = _of_one_type(labels[known])
    check_classification_targets(named)
    classes, codes = np.unique(named, return_inverse=True)
    if len(classes) < 2:
        found = "1 class" if len(classes) else "no class"
        raise UsageError(f"the labels in y contain {found}; a classifier needs at least 2 classes")
    positions = np.full(len(labels), UNLABELLED)
    positions[known] = codes
    return classes, positions


def _of_one_type(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels as an array of numbers if they are an object array of numbers."""
    if labels.dtype != object:
        return labels
    words = [isinstance(label, str) for label in labels]
    if all(words):
        return labels
    if any(words):
        word, other = labels[words.index(True)], labels[words.index(False)]
        raise UsageError(f"y mixes words and other labels ({word!r}, {other!r}); give words or numbers only")
    return np.array(labels.tolist())


def is_labelled(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which of `labels` (n,) are labels: not -1, NaN or None, and no word such as "unlabelled"."""
    if labels.dtype.kind == "u" and np.any(labels == np.iinfo(labels.dtype).max):
        raise UsageError(
            f"y is of dtype {labels.dtype}, which makes {np.iinfo(labels.dtype).max} of -1, and holds that: "
            "give labels as int64, with -1 for unlabelled"
        )
    if labels.dtype.kind in "iu":
        return np.asarray(labels != UNLABELLED, dtype=bool)
    if labels.dtype.kind == "f":
        return np.asarray((labels != UNLABELLED) & ~np.isnan(labels), dtype=bool)
    if labels.dtype.kind == "b":
        return np.ones(len(labels), bool)
    return np.array([not is_no_label(label) for label in labels.tolist()], bool)
