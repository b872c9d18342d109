"""Chooses a method by cross-validation on the labelled images."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.splits import Fold, labelling_order, stratified_folds
from gpu_ssl.methods import graph
from gpu_ssl.methods.method import Chosen, Classifier, Labelled, Options, fit_method
from gpu_ssl.methods.validation import ENOUGH, cross_validate, folds_to_compare
from gpu_ssl.methods.view import View
from gpu_ssl.statistics import in_percent

QUICK = ("m1", "hybrid", "graph")
"""Methods that take seconds: SVMs, the favourite last, and the graph."""

QUICK_ON_EMBEDDINGS = ("m1", "graph")
"""The same for embeddings, for which hybrid would be m1."""

QUICK_ON_ENCODER = ("svm", "graph")
"""The same for a requested encoder, and for that of a pretrained network."""

FEW = 15
"""Labels per class below which the graph is the favourite, and from which the SVM is: so it was on held-out
images of our data sets (docs/experiments/hybrid.md)."""

AHEAD = 1.0
"""Standard errors by which another candidate must beat the favourite; less is a tie."""

NETWORK = "consistency"
"""Better than these wherever we measured (docs/experiments/), but too slow to cross-validate."""

CLEARLY = 2.0
"""Standard errors by which an SVM must beat the network's teacher."""

MOST_DIVISIONS = 5
"""Number of divisions of the labelled images into folds if there are fewer than `ENOUGH`."""

MOST_LABELS = 2000
"""Maximum number of labelled images on which candidates are compared, equally many of each class and at least
two."""

MOST_CLASSES = 2000
"""With more, only the graph is tried: each SVM would take half a minute, and there is one for every fold."""

MOST_IMAGES = 10_000
"""Maximum number of images on which candidates are compared; the time of a graph grows with its square."""


def choose(view: View, labelled: Labelled, options: Options) -> tuple[Options, Chosen]:
    """Return the options of the chosen method, and the reason; see `methods.method`."""
    if labelled.n_classes > MOST_CLASSES:
        reason = f"{labelled.n_classes:,} classes have too many pairs for the SVMs of other methods"
        return dataclasses.replace(options, method="graph"), Chosen("graph", reason, {})
    some, compared_on = _sample(view, labelled, options.seed)
    divisions = _divisions(compared_on, options.seed)
    candidates = _candidates(view, options)
    checked = _times_checked(compared_on, divisions)
    right = {
        name: _right(some, compared_on, own, divisions)
        for name, own in (candidates if divisions else {}).items()
    }
    groups = compared_on.groups

    def lead(one: str, other: str) -> float:
        return _lead(right[one], right[other], groups)

    favourite = next(
        name
        for name, own in reversed(candidates.items())
        if (own.method == "graph") == (labelled.per_class < FEW and not graph.is_too_large(view))
    )
    best = favourite
    for name in right:
        if lead(name, favourite) > AHEAD and _total(right[name]) > _total(right[best]):
            best = name
    shares = {name: float(correct[checked > 0].mean()) for name, correct in right.items()}
    reason = _figures(shares, int(np.count_nonzero(checked)), len(divisions))
    if best == favourite and any(share > shares[best] for share in shares.values()):
        reason = f"{reason}; {best} is preferred unless another is more than one standard error better"
    chosen = candidates[best]
    if graph.is_too_large(view):  # and so is the teacher of a network
        reason = f"{reason}; no graph of more than {graph.MOST_IN_GRAPH:,} images, unless requested"
    elif options.effort != "quick" and view.holds_images and chosen.encoder == options.encoder:
        # Not on features of a pretrained network, nor on rows, which cannot be shifted or mirrored.
        # Pseudo-labels of the graph can hurt a network only if labels are few, when they have much weight.
        quick, teacher = (next(iter(candidates)), "graph")
        misleads = bool(right) and labelled.per_class < graph.MANY and lead(quick, teacher) > CLEARLY
        why = "the graph would hurt a network" if misleads else "a network, as the graph is accurate"
        chosen = chosen if misleads else dataclasses.replace(options, method=NETWORK)
        reason = f"{why} ({reason})"
    return chosen, Chosen(chosen.method, reason, shares)


def _candidates(view: View, options: Options) -> dict[str, Options]:
    """Return the candidates: SVMs and graphs, the favourite of each last."""
    names: tuple[str, ...] = QUICK if view.holds_images else QUICK_ON_EMBEDDINGS
    if options.encoder:
        names = QUICK_ON_ENCODER
    candidates = {name: dataclasses.replace(options, method=name) for name in names}
    if not options.encoder:
        for encoder in (name for name, own in view.encoders.items() if own.own_shape):
            for name in QUICK_ON_ENCODER:
                own = dataclasses.replace(options, method=name, encoder=encoder)
                candidates[f"{name} on {encoder}"] = own
    if graph.is_too_large(view):
        return {name: own for name, own in candidates.items() if own.method != "graph"}
    return candidates


def _figures(shares: dict[str, float], n: int, times: int) -> str:
    if not shares:
        return "too few labelled images to compare"
    how = "" if times == 1 else f", mean of {times} divisions"
    figures = ", ".join(f"{name} {in_percent(share)} correct" for name, share in shares.items())
    return f"{n} labelled images held out in turn{how}: {figures}"


def _total(right: NDArray[np.float64]) -> float:
    """Return the sum of shares, rounded so that equal sums compare equal."""
    return round(float(right.sum()), 6)


def _lead(
    one: NDArray[np.float64], other: NDArray[np.float64], groups: NDArray[np.int64] | None = None
) -> float:
    """Return by how many standard errors one method beats another: McNemar's test on paired images.

    A group counts as one image: the results of its images are strongly correlated.
    """
    difference = one - other
    if groups is not None:
        difference = np.bincount(groups, weights=difference).astype(np.float64)
    return float(difference.sum() / math.sqrt(max(float(np.square(difference).sum()), 1.0)))


def _sample(view: View, labelled: Labelled, seed: int) -> tuple[View, Labelled]:
    """Return the images on which candidates are compared, and the labelled ones among them."""
    most = max(MOST_LABELS, 2 * labelled.n_classes)
    chosen = labelled.take(np.sort(labelling_order(labelled.classes, seed, 0)[:most]))
    if len(view) <= MOST_IMAGES:
        return view, chosen
    others = np.setdiff1d(np.arange(len(view)), labelled.rows)
    n_others = max(0, MOST_IMAGES - len(chosen.rows))
    some = np.random.default_rng(seed).choice(others, min(n_others, len(others)), replace=False)
    rows = np.union1d(chosen.rows, some)
    return view.subset(rows), chosen._replace(rows=np.searchsorted(rows, chosen.rows))


def _divisions(labelled: Labelled, seed: int) -> list[list[Fold]]:
    """Divide labelled images into folds, several times if they are few; see `stratified_folds`."""
    times = min(MOST_DIVISIONS, math.ceil(ENOUGH / len(labelled.rows)))
    divisions = [
        stratified_folds(labelled.classes, (seed + number) % 2**32, labelled.groups)
        for number in range(times)
    ]
    return [folds_to_compare(folds, labelled.n_classes) for folds in divisions if folds]


def _times_checked(labelled: Labelled, divisions: list[list[Fold]]) -> NDArray[np.int64]:
    """Return in how many divisions each labelled image is held out."""
    checks = [check for folds in divisions for _, check in folds]
    return np.bincount(np.concatenate([*checks, np.empty(0, np.int64)]), minlength=len(labelled.rows))


def _right(
    view: View, labelled: Labelled, options: Options, divisions: list[list[Fold]]
) -> NDArray[np.float64]:
    """Return each labelled image's share of correct predictions in the divisions that hold it out."""
    right = np.zeros(len(labelled.rows), np.int64)
    for folds in divisions:
        judged = cross_validate(view, labelled, options, folds)
        right[judged.positions] += judged.predicted == labelled.classes[judged.positions]
    return right / np.maximum(_times_checked(labelled, divisions), 1)


def fit(view: View, labelled: Labelled, options: Options) -> Classifier:
    """Choose a method and fit it; see `methods.method`."""
    own, chosen = choose(view, labelled, options)
    classifier = fit_method(view, labelled, own)
    classifier.chosen = chosen
    return classifier
