"""Cross-validation of methods on the labelled images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.splits import Fold, stratified_folds
from gpu_ssl.methods.method import Labelled, Options, fit_each
from gpu_ssl.methods.view import View

FOLDS_OF_NETWORKS = 3
"""Number of folds for a method that trains networks; only one is used. With five, too few images were held
out to calibrate probabilities (docs/experiments/own-images.md)."""

ENOUGH = 500
"""Number of held-out predictions that a comparison should rest on."""

MANY_CLASSES = 200
"""Classes from which an SVM is so slow (3 s for 1000) that only as many folds as needed are compared."""


class Judged(NamedTuple):
    """Predictions of a method for held-out labelled images.

    `positions` (m,) are those of the images among the labelled; `decisions` (m, ...) and `predicted` (m,)
    are what `Classifier.decisions` and `Classifier.winners` gave; `pairwise` is that of the classifiers.
    """

    positions: NDArray[np.int64]
    decisions: NDArray[np.float32]
    predicted: NDArray[np.int64]
    pairwise: bool


def folds_of(labelled: Labelled, options: Options) -> list[Fold]:
    """Return the folds that judge a method; none if fewer than two classes could be checked."""
    if options.spec.trains:
        return stratified_folds(labelled.classes, options.seed, labelled.groups, FOLDS_OF_NETWORKS)[:1]
    return stratified_folds(labelled.classes, options.seed, labelled.groups)


def folds_to_compare(folds: list[Fold], n_classes: int) -> list[Fold]:
    """Return the folds that compare methods; with many classes, enough for `ENOUGH` predictions."""
    if n_classes <= MANY_CLASSES or not folds:
        return folds
    judgements = np.cumsum([len(check) for _, check in folds])
    return folds[: int(np.searchsorted(judgements, ENOUGH)) + 1]


def cross_validate(view: View, labelled: Labelled, options: Options, folds: list[Fold]) -> Judged:
    """Fit a method to each fold's labelled images, and predict the held-out ones.

    Encoders and graphs have seen all images, but no label.

    Parameters
    ----------
    view, labelled, options
        See `methods.method`.
    folds : list of Fold
        At least one.
    """
    positions, decisions, predicted = [], [], []
    pairwise = False
    view.remember(labelled.rows)
    fitted = fit_each(view, [labelled.take(learn) for learn, _ in folds], [options] * len(folds))
    for (_, check), (classifier, _) in zip(folds, fitted, strict=True):
        left_out = view.subset(labelled.rows[check])
        positions.append(check)
        decisions.append(classifier.decisions(left_out))
        predicted.append(classifier.winners(decisions[-1]))
        pairwise = classifier.pairwise
    return Judged(np.concatenate(positions), np.concatenate(decisions), np.concatenate(predicted), pairwise)
