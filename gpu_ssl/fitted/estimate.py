"""Estimates how accurate a model will be, and calibrates it, by cross-validation on the labelled images."""

import math
from pathlib import Path

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
from gpu_ssl.fitted.records import Estimate
from gpu_ssl.methods.method import Labelled, Options
from gpu_ssl.methods.validation import cross_validate, folds_of
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import resolve_backend

BASELINE_WORK = 7e9
"""Squared number of images, times their size, that the SVM on raw pixels may see: some seconds. Of 28 x 28
pixels these are 3,000 images."""


def judge(view: View, labelled: Labelled, options: Options) -> tuple[Calibration, Estimate | None]:
    """Judge labelled images by models that did not see their labels; make probabilities of what these say.

    Where a class has a single labelled image there is no estimate, and the calibration is the one that many
    images of other data came near to.
    """
    folds = folds_of(labelled, options)
    if not folds:
        return Calibration(), None
    judged = cross_validate(view, labelled, options, folds)
    classes = labelled.classes[judged.positions]
    n_classes = labelled.n_classes
    calibration = fit_calibration(judged.decisions, classes, n_classes, judged.pairwise)
    probabilities = calibration.probabilities(judged.decisions.astype(np.float64), n_classes, judged.pairwise)
    return calibration, _estimate(most_likely_first(probabilities, judged.predicted), classes)


def _estimate(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> Estimate:
    from scipy.stats import binomtest

    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    return Estimate(
        right=int(right.sum()),
        of=len(right),
        low=float(interval.low),
        high=float(interval.high),
        calibration_error=expected_calibration_error(confidences, right),
        bins=tuple(reliability(confidences, right)),
    )


def with_baselines(estimate: Estimate, images: OwnImages, labelled: Labelled, config: FitConfig) -> Estimate:
    """Add what an SVM on the pixels reaches on the same folds, and naming one class always."""
    most = int((BASELINE_WORK / math.prod(images.image_shape)) ** 0.5)
    some = np.sort(labelling_order(labelled.classes, config.seed, 0)[:most])
    host, _ = resolve_backend("sklearn", resolve_device("cpu"))
    device = torch.device("cpu")
    own = labelled.take(some)
    pixels = images.images[own.rows]
    to_learn = TrainingImages(pixels, device, config.mirror, "")
    encoders = fit_encoders(["pixels"], to_learn, Training(config, Path()))
    view = View(pixels, encoders, host, Stopwatch(device), config.mirror, torch.float32)
    here = Labelled(np.arange(len(own.rows)), own.classes)
    folds = stratified_folds(own.classes, config.seed)
    judged = cross_validate(view, here, Options("raw-svc", svm=config.svm), folds) if folds else None
    return estimate.model_copy(
        update={
            "raw_pixels": judged and float(np.mean(judged.predicted == own.classes[judged.positions])),
            "most_frequent": float(np.bincount(labelled.classes).max() / len(labelled.rows)),
        }
    )
