"""Chooses a method by cross-validation on the labelled images."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from gpu_ssl import catalog
from gpu_ssl.data.splits import Fold, labelling_order, stratified_folds
from gpu_ssl.methods.graph import MANY
from gpu_ssl.methods.method import Chosen, Classifier, Labelled, Options, fit_method
from gpu_ssl.methods.validation import ENOUGH, cross_validate, folds_to_compare
from gpu_ssl.methods.view import View

QUICK = ("m1", "hybrid", "graph")
"""Methods that cost seconds: SVMs, the favourite last, and the graph."""

QUICK_ON_ENCODER = ("svm", "graph")
"""The same where an encoder is asked for, and on that of a pretrained network."""

FEW = 15
"""Labels a class below which the graph is the favourite, not the SVM: on held-out images of our data sets it
was better there, and the SVM above (docs/experiments/hybrid.md)."""

AHEAD = 1.0
"""Standard errors by which another candidate must be ahead of the favourite: less is a tie."""

NETWORK = "consistency"
"""Better than these wherever we measured (docs/experiments/), and too dear to cross-validate."""

CLEARLY = 2.0
"""Standard errors by which an SVM must be ahead of the network's teacher."""

MOST_DIVISIONS = 5
"""Times that labelled images are divided into folds where they are fewer than `ENOUGH`."""

MOST_LABELS = 2000
"""Labelled images that candidates are compared on: a choice of equally many of each class, where more; two of
each class at least."""

MOST_CLASSES = 2000
"""More leave the graph alone: each SVM would take half a minute, and there is one for every fold."""

MOST_IMAGES = 10_000
"""Images that candidates are compared on, where there are more: a graph takes time with their square."""

MOST_IN_GRAPH = 200_000
"""Images of which a CPU makes a graph unasked. The time grows with the square: 40,000 of 64 features take 6
seconds of one core, so this many 140, and a million an hour."""


def choose(view: View, labelled: Labelled, options: Options) -> tuple[Options, Chosen]:
    """Return the options of the method to use, and why it is this one; see `methods.method`."""
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
        if (own.method == "graph") == (labelled.per_class < FEW and not _is_too_large(view))
    )
    best = favourite
    for name in right:
        if lead(name, favourite) > AHEAD and _total(right[name]) > _total(right[best]):
            best = name
    shares = {name: float(correct[checked > 0].mean()) for name, correct in right.items()}
    reason = _figures(shares, int(np.count_nonzero(checked)))
    if _is_too_large(view):
        reason = f"{reason}; no graph of more than {MOST_IN_GRAPH:,} images, unless asked for"
    chosen = candidates[best]
    if options.effort != "quick" and chosen.encoder == options.encoder:  # and not a pretrained network's
        # The graph can only mislead a network where labels are few and it counts for much.
        quick, teacher = (next(iter(candidates)), "graph")
        misleads = bool(right) and labelled.per_class < MANY and lead(quick, teacher) > CLEARLY
        why = "the graph would mislead a network" if misleads else "a network, whose teacher is sound"
        chosen = chosen if misleads else dataclasses.replace(options, method=NETWORK)
        reason = f"{why} ({reason})"
    return chosen, Chosen(chosen.method, reason, shares)


def _candidates(view: View, options: Options) -> dict[str, Options]:
    """Return what is compared: SVMs and graphs, the favourites of both last."""
    names = QUICK_ON_ENCODER if options.encoder else tuple(name for name in QUICK if _works(name, view))
    candidates = {name: dataclasses.replace(options, method=name) for name in names}
    if not options.encoder:
        for encoder in (name for name, own in view.encoders.items() if own.own_shape):
            for name in QUICK_ON_ENCODER:
                own = dataclasses.replace(options, method=name, encoder=encoder)
                candidates[f"{name} on {encoder}"] = own
    if _is_too_large(view):
        return {name: own for name, own in candidates.items() if own.method != "graph"}
    return candidates


def _is_too_large(view: View) -> bool:
    """Whether a graph of the images would take minutes or hours."""
    return view.device.type == "cpu" and len(view) > MOST_IN_GRAPH


def _figures(shares: dict[str, float], n: int) -> str:
    if not shares:
        return "too few labelled images to compare"
    figures = ", ".join(f"{name} {share:.1%} right" for name, share in shares.items())
    return f"{n} labelled images left out in turn: {figures}"


def _total(right: NDArray[np.float64]) -> float:
    """Return the sum of shares, so that equals are equal: fifths add up with rounding."""
    return round(float(right.sum()), 6)


def _lead(
    one: NDArray[np.float64], other: NDArray[np.float64], groups: NDArray[np.int64] | None = None
) -> float:
    """Return by how many standard errors one method is ahead of another: McNemar's test on paired images.

    A group counts as one: what its images tell is the same, or nearly so.
    """
    difference = one - other
    if groups is not None:
        difference = np.bincount(groups, weights=difference).astype(np.float64)
    return float(difference.sum() / math.sqrt(max(float(np.square(difference).sum()), 1.0)))


def _sample(view: View, labelled: Labelled, seed: int) -> tuple[View, Labelled]:
    """Return the images that candidates are compared on, the labelled ones among them, and these."""
    most = max(MOST_LABELS, 2 * labelled.n_classes)
    chosen = labelled.take(np.sort(labelling_order(labelled.classes, seed, 0)[:most]))
    if len(view) <= MOST_IMAGES:
        return view, chosen
    others = np.setdiff1d(np.arange(len(view)), labelled.rows)
    n_others = max(0, MOST_IMAGES - len(chosen.rows))
    some = np.random.default_rng(seed).choice(others, min(n_others, len(others)), replace=False)
    rows = np.union1d(chosen.rows, some)
    return view.subset(rows), chosen._replace(rows=np.searchsorted(rows, chosen.rows))


def _works(name: str, view: View) -> bool:
    """Whether the encoders of a method are for images of this kind."""
    parts = catalog.encoder_parts(catalog.method(name).encoder)
    return view.is_pictures or not any(catalog.encoder(part).pictures for part in parts)


def _divisions(labelled: Labelled, seed: int) -> list[list[Fold]]:
    """Divide labelled images into folds, a few times where they are few; see `stratified_folds`."""
    times = min(MOST_DIVISIONS, math.ceil(ENOUGH / len(labelled.rows)))
    divisions = [
        stratified_folds(labelled.classes, (seed + number) % 2**32, labelled.groups)
        for number in range(times)
    ]
    return [folds_to_compare(folds, labelled.n_classes) for folds in divisions if folds]


def _times_checked(labelled: Labelled, divisions: list[list[Fold]]) -> NDArray[np.int64]:
    """Return in how many of the divisions each labelled image is left out."""
    checks = [check for folds in divisions for _, check in folds]
    return np.bincount(np.concatenate([*checks, np.empty(0, np.int64)]), minlength=len(labelled.rows))


def _right(
    view: View, labelled: Labelled, options: Options, divisions: list[list[Fold]]
) -> NDArray[np.float64]:
    """Return in which share of the divisions that leave it out each labelled image is named right."""
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
