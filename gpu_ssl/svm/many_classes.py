"""One score per class from a one-vs-one SVM of many classes, without evaluating all pairs for each point.

1000 classes have 499,500 pairs. The sum of a class's margins against all others is linear in the kernel
values, so it needs no single pair; its exponential, sharpened, is about as good a probability as the coupling
of all pairs. But voting is more accurate. Votes are counted only among the classes with the largest sums,
which predicts the same class as all votes (docs/experiments/many-classes.md).
"""

import numpy as np
from array_api_compat import device, is_torch_array

from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.svm.model import OneVsOneModel, margins_of, votes
from gpu_ssl.svm.pairs import class_slices

CANDIDATES = 32
"""Number of classes whose votes are counted."""

SHARPNESS = 10.0
"""Factor of a mean margin: the log-loss was least between 7.8 and 14.3 for 100 and 1000 classes."""


class ClassScores:
    """The scores of a model with more than `CANDIDATES` classes.

    Parameters
    ----------
    model : OneVsOneModel
        The fitted arrays.
    """

    def __init__(self, model: OneVsOneModel) -> None:
        self.model = model
        xp, place = array_namespace(model.duals), device(model.duals)
        k = model.n_classes
        factor = SHARPNESS / (k - 1)
        classes = xp.asarray(np.repeat(np.arange(k), model.n_support), device=place)
        is_own = classes[:, None] == xp.arange(k, device=place)
        sums = xp.sum(model.duals, axis=1, keepdims=True)
        self._weights = factor * xp.where(is_own, sums, -model.duals)
        margins = margins_of(model.intercepts[None, :], k)
        self._constants = factor * xp.sum(margins, axis=1)
        self._all_margins = model.margin_rule()
        # Classes have different numbers of support vectors; missing ones get coefficients of 0.
        n, self._most = sum(model.n_support), max(model.n_support)
        places = np.full((k, self._most), n)
        for number, rows in enumerate(class_slices(model.n_support)):
            places[number, : rows.stop - rows.start] = np.arange(rows.start, rows.stop)
        self._places = xp.asarray(places, device=place)
        nothing = xp.zeros((1, k), dtype=model.duals.dtype, device=place)
        self._duals = xp.reshape(xp.concat([model.duals, nothing]), (-1,))
        self._pair_constants = xp.reshape(margins, (-1,))

    @property
    def width(self) -> int:
        """Number of intermediate values per point."""
        return min(self.model.n_classes**2, CANDIDATES**2 * self._most)

    def __call__(self, points: Array) -> Array:
        """Return the scores of all classes at `points`, (n, n_classes), largest at the predicted class."""
        return self.model.by_blocks(points, self.rule, self.width, (self.model.n_classes,))

    def rule(self, values: Array) -> Array:
        """Return the scores (n, n_classes) from kernel values (n, n_support)."""
        scores = values @ self._weights + self._constants
        return most_likely_first(scores, self._winners(values, scores))

    def _winners(self, values: Array, scores: Array) -> Array:
        """Return the classes (n,) with most votes among the candidates; ties go to the first."""
        xp = array_namespace(values)
        if self.width == self.model.n_classes**2:
            # With so many support vectors per class, all pairs are less work.
            return xp.argmax(votes(self._all_margins(values)), axis=1)
        candidates = _candidates(scores)
        places = xp.reshape(
            xp.take(self._places, xp.reshape(candidates, (-1,)), axis=0), (-1, CANDIDATES, self._most)
        )
        n_points, n = values.shape
        rows = n * xp.arange(n_points, device=device(values))[:, None, None]
        last = xp.full_like(places, n - 1)
        own = _at(xp.reshape(values, (-1,)), rows + xp.minimum(places, last))
        k = self.model.n_classes
        duals = _at(self._duals, k * places[:, :, :, None] + candidates[:, None, None, :])
        in_favour = (own[:, :, None, :] @ duals)[:, :, 0, :]
        constants = _at(self._pair_constants, k * candidates[:, :, None] + candidates[:, None, :])
        margins = xp.permute_dims(in_favour, (0, 2, 1)) - in_favour + constants
        winners = xp.argmax(votes(margins), axis=1)
        first = CANDIDATES * xp.arange(n_points, device=device(values))
        return _at(xp.reshape(candidates, (-1,)), first + winners)


def _candidates(scores: Array) -> Array:
    """Return the classes of the largest scores, ascending, of shape (n, CANDIDATES)."""
    if is_torch_array(scores):
        # torch's sort has no ONNX operator.
        best = scores.topk(CANDIDATES, dim=1).indices
        return best.topk(CANDIDATES, dim=1, largest=False).values
    xp = array_namespace(scores)
    return xp.sort(xp.argsort(-scores, axis=1)[:, :CANDIDATES], axis=1)


def _at(values: Array, places: Array) -> Array:
    """Return the values of a flat array at `places` of any shape, in that shape."""
    xp = array_namespace(values)
    return xp.reshape(xp.take(values, xp.reshape(places, (-1,))), places.shape)


def most_likely_first(scores: Array, winners: Array) -> Array:
    """Swap scores where needed, so that the predicted class has the largest.

    Parameters
    ----------
    scores : array of shape (n, n_classes)
        Probabilities, or monotone functions of them.
    winners : array of shape (n,), int64
        Predicted classes.
    """
    xp = array_namespace(scores)
    classes = xp.arange(scores.shape[1], device=device(scores))
    is_winner = classes == winners[:, None]
    is_best = classes == xp.argmax(scores, axis=1)[:, None]
    zero = xp.zeros_like(scores)
    of_winner = xp.sum(xp.where(is_winner, scores, zero), axis=1, keepdims=True)
    of_best = xp.max(scores, axis=1, keepdims=True)
    return xp.where(is_winner, of_best, xp.where(is_best, of_winner, scores))
