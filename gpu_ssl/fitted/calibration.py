"""Calibrated probabilities from decision values, over the Array API, so that ONNX export shares the code."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.fitted.records import CalibrationBin
from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.svm.many_classes import most_likely_first as most_likely_first
from gpu_ssl.svm.model import margins_of

BINS = 15

DIFFERENCE, CLOSE, ROUNDS = 1e-3, 1e-4, 50
"""Newton's method: step of the finite differences, step at which it ends, and maximum number of steps."""


@dataclass(frozen=True)
class Calibration:
    """Map from decision values to class probabilities.

    For pairwise decision values, p(c) is proportional to the product over the other classes j of
    sigmoid(slope * d(c, j))^power, where d(c, j) is the decision value in favour of c. The sigmoid is Platt's
    (1999), shared by all pairs. For log-probabilities l, p is proportional to exp(power * l), where 1 / power
    is the temperature (Guo et al. 2017, *On Calibration of Modern Neural Networks*, section 4.2).

    Parameters
    ----------
    slope, power : float
        Both positive; `slope` is used only for pairwise decision values.
    """

    slope: float = 1.0
    power: float = 1.0

    def probabilities(self, decisions: Array, n_classes: int, pairwise: bool) -> Array:
        """Return probabilities (n, n_classes).

        Parameters
        ----------
        decisions : array of shape (n, n_pairs) or (n, n_classes)
            Decision values or log-probabilities; see `methods.method.Classifier`.
        n_classes : int
            Number of classes.
        pairwise : bool
            Whether there is a decision value for each pair of classes.
        """
        scores = self.power * (_pair_scores(self.slope * decisions, n_classes) if pairwise else decisions)
        xp = array_namespace(scores)
        odds = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
        return odds / xp.sum(odds, axis=1, keepdims=True)


def _pair_scores(values: Array, n_classes: int) -> Array:
    """Return the sum of log-sigmoids over the pairs of each class, (n, n_classes)."""
    xp = array_namespace(values)
    # The diagonal adds the same constant to every class.
    return -xp.sum(_softplus(-margins_of(values, n_classes)), axis=1)


def _softplus(values: Array) -> Array:
    """Return log(1 + exp(x)) without overflow.

    It is not computed as the logarithm of a sigmoid, which is log(0) in ONNX for large negative values.
    """
    xp = array_namespace(values)
    return xp.maximum(values, xp.zeros_like(values)) + xp.log1p(xp.exp(-xp.abs(values)))


def fit_calibration(
    decisions: NDArray[np.floating[Any]],
    classes: NDArray[np.int64],
    n_classes: int,
    pairwise: bool,
    weights: NDArray[np.float64] | float = 1.0,
) -> Calibration:
    """Fit a calibration to decision values for images that the classifier was not fitted to.

    Minimizes the weighted negative log-likelihood of `classes` (n,), with standard normal priors on
    log(slope) and log(power). With few images both stay near 1, the typical value on our data sets with many
    images.
    """
    rows, values = np.arange(len(classes)), decisions.astype(np.float64)

    def loss(logarithms: NDArray[np.float64]) -> float:
        slope, power = np.exp(logarithms)
        likelihoods = Calibration(slope, power).probabilities(values, n_classes, pairwise)[rows, classes]
        return float(-(weights * np.log(likelihoods + 1e-12)).sum() + 0.5 * (logarithms**2).sum())

    if pairwise:
        slope, power = np.exp(minimum(loss, 2))
    else:
        slope, power = 1.0, np.exp(minimum(lambda power: loss(np.array([0.0, *power])), 1)[0])
    return Calibration(float(slope), float(power))


def minimum(loss: Callable[[NDArray[np.float64]], float], n: int) -> NDArray[np.float64]:
    """Return where a smooth loss of `n` numbers is least, by Newton's method from 0 with differences.

    The priors curve a calibration's loss by 1, and no more is assumed of it. Importing `scipy.optimize`, or
    `torch._dynamo` with the first of `torch.optim`'s optimizers, takes longer than a whole calibration.
    """
    at, size = np.zeros(n), np.eye(n) * DIFFERENCE
    for _ in range(ROUNDS):
        here = loss(at)
        rises = [(loss(at + ahead), loss(at - ahead)) for ahead in size]
        gradient = np.array([up - down for up, down in rises]) / (2 * DIFFERENCE)
        curvature = np.diag([up + down - 2 * here for up, down in rises])
        for i, j in itertools.combinations(range(n), 2):
            both = loss(at + size[i] + size[j]) + loss(at - size[i] - size[j])
            curvature[i, j] = curvature[j, i] = (both - sum(rises[i]) - sum(rises[j]) + 2 * here) / 2
        values, vectors = np.linalg.eigh(curvature / DIFFERENCE**2)
        step = -vectors @ (vectors.T @ gradient / np.maximum(np.abs(values), 1.0))
        while loss(at + step) > here and np.abs(step).max() > CLOSE:
            step = step / 2
        at = at + step
        if np.abs(step).max() <= CLOSE:
            break
    return at


def reliability(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> list[CalibrationBin]:
    """Return the reliability diagram: `BINS` confidence bins of equal width, without empty ones."""
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
    """Return the expected calibration error over the bins (Guo et al. 2017, eq. 3)."""
    bins = reliability(confidences, right)
    return sum(b.size * abs(b.confidence - b.accuracy) for b in bins) / len(confidences)
