"""Estimating the accuracy of a model, and calibrating it, by cross-validation on the labelled images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.config import FitConfig
from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.splits import labelling_order, stratified_folds
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.fitted.calibration import (
    Calibration,
    expected_calibration_error,
    fit_calibration,
    most_likely_first,
    reliability,
)
from gpu_ssl.fitted.records import ClassScores, Estimate
from gpu_ssl.methods.auto import MOST_CLASSES
from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.validation import MANY_CLASSES, Judged, cross_validate, folds_of, folds_to_compare
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.statistics import independent, wilson_interval
from gpu_ssl.svm.backend import resolve_backend

BASELINE_WORK = 7e9
"""Limit on the squared number of images times their size for the SVM on raw pixels: a few seconds. It allows
3,000 images of 28 x 28 pixels."""


UNLIKELY = 20.0
"""A label is suspect if another class is this many times as likely. The likelihood ratio found planted label
errors better than the confidence (docs/experiments/own-images.md)."""


class Suspect(NamedTuple):
    """A label that looks wrong, because a model fitted without it finds another class far more likely.

    `row` is the position of the image in the view, `given` and `suggested` are classes, `confidence` is the
    calibrated probability of `suggested`.
    """

    row: int
    given: int
    suggested: int
    confidence: float


class Judgement(NamedTuple):
    """Calibration, estimated accuracy and suspect labels of a model; see `judge`."""

    calibration: Calibration
    estimate: Estimate | None
    suspects: tuple[Suspect, ...]


def judge(
    view: View,
    labelled: Labelled,
    options: Options,
    class_names: Sequence[str],
    alike: NDArray[np.int64] | None = None,
) -> Judgement:
    """Cross-validate a method on the labelled images, and calibrate its probabilities.

    If fewer than two classes can be validated, there is no estimate, and the calibration is the default.

    Parameters
    ----------
    view, labelled, options
        See `methods.method`.
    class_names : sequence of str
        Name of each class.
    alike : ndarray of shape (n,), int64, optional
        Groups of labelled images that count as one trial, if they differ from the groups of `labelled`.
    """
    folds = folds_of(labelled, options)
    if not folds:
        return Judgement(Calibration(), None, ())
    judged = cross_validate(view, labelled, options, folds)
    classes = labelled.classes[judged.positions]
    n_classes = labelled.n_classes
    weights = difficulty_weights(view, labelled, options, judged)
    calibration = fit_calibration(judged.decisions, classes, n_classes, judged.pairwise, weights)
    probabilities = calibration.probabilities(judged.decisions.astype(np.float64), n_classes, judged.pairwise)
    probabilities = most_likely_first(probabilities, judged.predicted)
    groups = labelled.groups if alike is None else alike
    groups = np.arange(len(labelled.rows)) if groups is None else groups
    estimate = _estimate(class_names, classes, probabilities, groups[judged.positions])
    apart = any(np.isin(groups[check], groups[learn]).any() for learn, check in folds)
    rows = labelled.rows[judged.positions]
    return Judgement(
        calibration,
        estimate.model_copy(update={"copies_apart": apart}),
        _suspects(rows, classes, probabilities),
    )


def difficulty_weights(
    view: View, labelled: Labelled, options: Options, judged: Judged
) -> NDArray[np.float64] | float:
    """Return weights that make a validated subset as difficult as all labelled images (poststratification).

    A method that trains networks is validated on a part of the labelled images, which may be easier than the
    others by chance; confidences would be too high. An SVM on the teacher's features, which takes seconds,
    measures the difficulty: the weighted subset gets the accuracy of this SVM on all labelled images.

    Parameters
    ----------
    view, labelled, options
        See `methods.method`.
    judged : Judged
        Predictions of the method for the validated images.

    Returns
    -------
    ndarray of shape (m,) or float
        Weight of each validated image; 1 if all images are validated, or the SVM gives no information.
    """
    folds = stratified_folds(labelled.classes, options.seed, labelled.groups)
    all_judged = folds == [] or not options.spec.trains
    if all_judged or not view.encoders or labelled.n_classes > MANY_CLASSES:
        return 1.0
    teacher = options.teacher_name
    encoder = teacher if teacher in view.encoders else next(iter(view.encoders))
    quick = Options("svm", encoder, options.svm, seed=options.seed)
    every = cross_validate(view, labelled, quick, folds)
    right = np.zeros(len(labelled.rows), dtype=bool)
    right[every.positions] = every.predicted == labelled.classes[every.positions]
    subset, share = right[judged.positions], right[every.positions].mean()
    if not 0 < subset.mean() < 1:
        return 1.0
    ratios = share / subset.mean(), (1 - share) / (1 - subset.mean())
    weights: NDArray[np.float64] = np.where(subset, *ratios)
    return weights


def _estimate(
    class_names: Sequence[str],
    classes: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    groups: NDArray[np.int64],
) -> Estimate:
    predicted, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == classes
    effective_size = independent(groups)
    low, high = wilson_interval(float(right.mean()), effective_size)
    n = len(class_names)
    cells, counts = np.unique(classes * n + predicted, return_counts=True)
    support, named, hits = (
        np.bincount(codes, minlength=n).tolist() for codes in (classes, predicted, classes[right])
    )
    scores = tuple(map(_class_scores, class_names, support, named, hits))
    return Estimate(
        right=int(right.sum()),
        of=len(right),
        independent=effective_size,
        low=low,
        high=high,
        calibration_error=expected_calibration_error(confidences, right),
        bins=tuple(reliability(confidences, right)),
        classes=scores,
        macro_f1=float(np.mean([score.f1 for score in scores if score.f1 is not None])),
        confusion=tuple(
            (cell // n, cell % n, count) for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)
        ),
        not_judged=tuple(score.name for score in scores if not score.support),
        most_frequent=max(support) / len(right),
    )


def _class_scores(name: str, support: int, named: int, hits: int) -> ClassScores:
    """Return the scores of a class from its numbers of images, of predictions, and of true positives."""
    if not support:
        return ClassScores(name=name, support=0, recall=None, precision=None, f1=None)
    return ClassScores(
        name=name,
        support=support,
        recall=hits / support,
        precision=hits / named if named else None,
        f1=2 * hits / (support + named),
    )


def _suspects(
    rows: NDArray[np.int64], classes: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[Suspect, ...]:
    """Return the suspect labels, the least likely first."""
    predicted, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    ratios = confidences / np.maximum(probabilities[np.arange(len(classes)), classes], 1e-12)
    wrong = np.flatnonzero(ratios >= UNLIKELY)
    wrong = wrong[np.lexsort((rows[wrong], -ratios[wrong]))]
    columns = (rows, classes, predicted, confidences)
    return tuple(map(Suspect._make, zip(*(column[wrong].tolist() for column in columns), strict=True)))


def with_baseline(estimate: Estimate, images: OwnImages, labelled: Labelled, config: FitConfig) -> Estimate:
    """Add the cross-validated accuracy of an SVM on raw pixels; embeddings have no such baseline."""
    if images.are_embeddings:
        return estimate
    most = int((BASELINE_WORK / math.prod(images.image_shape)) ** 0.5)
    chosen = np.sort(labelling_order(labelled.classes, config.seed, 0)[:most])
    host, _ = resolve_backend("auto", resolve_device("cpu"))
    device = torch.device("cpu")
    subset = labelled.take(chosen)
    if subset.n_classes > MOST_CLASSES:
        return estimate
    pixels = images.images[subset.rows]
    to_learn = TrainingImages(pixels, device, config.mirror, "")
    encoders = fit_encoders(["pixels"], to_learn, Training(config, Path()))
    view = View(pixels, encoders, host, Stopwatch(device), config.mirror, torch.float32)
    subset = subset._replace(rows=np.arange(len(subset.rows)))
    folds = folds_to_compare(stratified_folds(subset.classes, config.seed, subset.groups), subset.n_classes)
    if not folds:
        return estimate
    judged = cross_validate(view, subset, Options("raw-svc", svm=config.svm), folds)
    share = float(np.mean(judged.predicted == subset.classes[judged.positions]))
    return estimate.model_copy(update={"raw_pixels": share})
