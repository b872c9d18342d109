"""Fits one SVM for every split and number of labels, and predicts. No test label comes near this."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.config import SVMConfig
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.methods.features import Features
from gpu_ssl.runtime.progress import Advance
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm.backend import SVMBackend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty

Predictions = dict[int, list[NDArray[np.int64]]]
"""For each number of labels, the predicted classes of the test images in every split."""

Keep = Callable[[str, int, int, OneVsOneModel], None]
"""Takes method, number of labels, split and fitted SVM."""


def n_splits_of(count: int, n_train: int, splits: int) -> int:
    """Return how many different splits there are: where all images carry a label, one."""
    return 1 if count == n_train else splits


def predict_splits(
    features: Features,
    labels: NDArray[np.int64],
    counts: Sequence[int],
    splits: int,
    seed: int,
    config: SVMConfig,
    backend: SVMBackend,
    stopwatch: Stopwatch,
    advance: Advance,
    keep: Keep | None = None,
) -> Predictions:
    """Predict the test images from every choice of labelled images.

    Parameters
    ----------
    features : Features
        Of all images.
    labels : ndarray of shape (n_train,), int64
        Classes of the training images; only those of a split's labelled images reach its SVM.
    counts, splits, seed
        Numbers of labels, number of splits, seed of the run: see `data.splits.labelling_order`.
    config, backend
        What SVM to fit, and who fits it.
    stopwatch : Stopwatch
        Its phases ``fit`` and ``score`` take the time.
    advance : callable
        Called after each SVM.
    keep : callable, optional
        Called with each fitted SVM.
    """
    n_classes = int(labels.max()) + 1
    predictions: Predictions = {}
    for count in counts:
        predictions[count] = []
        for split in range(n_splits_of(count, len(labels), splits)):
            labelled = labelled_indices(labels, count, seed, split)
            points = features.train(labelled)
            with stopwatch.phase("fit"):
                gamma = scale_gamma(points) if config.gamma == "scale" else config.gamma
                penalty = Penalty(config.C, Kernel(gamma=gamma))
                model = fit_one_vs_one(backend, points, labels[labelled], n_classes, penalty)
            with stopwatch.phase("score"):
                predictions[count].append(backend.to_host(model.predict(features.test)))
            if keep is not None:
                keep(features.method, count, split, model)
            advance(f"{features.method}, {count} labels")
    return predictions
