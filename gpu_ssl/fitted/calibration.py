"""From the decision values of an SVM to probabilities that mean what they say."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.fitted.records import CalibrationBin
from gpu_ssl.svm.pairs import class_pairs

BINS = 15


@dataclass(frozen=True)
class Coupling:
    """Class probabilities from the decision values of all pairs of classes.

    p(c) is proportional to the product over the other classes j of sigmoid(slope * d(c, j))^power, where
    d(c, j) is the decision value in favour of c: the sigmoid is Platt's (1999), one for all pairs, and
    1 / power a temperature (Guo et al. 2017, *On Calibration of Modern Neural Networks*, section 4.2).

    Parameters
    ----------
    slope, power : float
        Both positive.
    """

    slope: float = 1.0
    power: float = 1.0

    def probabilities(self, decisions: NDArray[np.floating], n_classes: int) -> NDArray[np.float64]:
        """Return probabilities (n, n_classes) from decisions (n, n_pairs), positive for the second class."""
        scores = np.zeros((len(decisions), n_classes))
        for column, (first, second) in enumerate(class_pairs(n_classes)):
            value = self.slope * decisions[:, column].astype(np.float64)
            scores[:, second] -= np.logaddexp(0, -value)
            scores[:, first] -= np.logaddexp(0, value)
        scores *= self.power
        odds: NDArray[np.float64] = np.exp(scores - scores.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        return odds


def fit_coupling(decisions: NDArray[np.floating], classes: NDArray[np.int64], n_classes: int) -> Coupling:
    """Fit slope and power to decisions of points that the SVM was not fitted on.

    Minimizes the negative log-likelihood of `classes` (n,), with a standard normal prior on both logarithms:
    a few points leave them near 1, which is what many points of the data sets that we looked at came to.
    """
    from scipy.optimize import minimize

    rows = np.arange(len(classes))

    def loss(logarithms: NDArray[np.float64]) -> float:
        slope, power = np.exp(logarithms)
        likelihoods = Coupling(slope, power).probabilities(decisions, n_classes)[rows, classes]
        return float(-np.log(likelihoods + 1e-12).sum() + 0.5 * (logarithms**2).sum())

    slope, power = np.exp(minimize(loss, np.zeros(2), method="Nelder-Mead").x)
    return Coupling(float(slope), float(power))


def most_likely_first(probabilities: NDArray[np.float64], winners: NDArray[np.int64]) -> NDArray[np.float64]:
    """Exchange probabilities where the SVM's winner is not the most likely class, so that it is."""
    rows, best = np.arange(len(winners)), probabilities.argmax(axis=1)
    agreeing = probabilities.copy()
    agreeing[rows, winners], agreeing[rows, best] = probabilities[rows, best], probabilities[rows, winners]
    return agreeing


def reliability(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> list[CalibrationBin]:
    """Sort predictions into `BINS` bins of equal width by confidence, leaving out empty ones."""
    return list(_bins(confidences, right))


def _bins(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> Iterator[CalibrationBin]:
    index = np.minimum((confidences * BINS).astype(int), BINS - 1)
    for number in range(BINS):
        inside = index == number
        if inside.any():
            yield CalibrationBin(
                size=int(inside.sum()),
                confidence=float(confidences[inside].mean()),
                accuracy=float(right[inside].mean()),
            )


def expected_calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the mean gap between confidence and accuracy of the bins (Guo et al. 2017, eq. 3)."""
    bins = reliability(confidences, right)
    return sum(b.size * abs(b.confidence - b.accuracy) for b in bins) / len(confidences)
