"""Every split gets its SVM from its own labelled images alone."""

import numpy as np
import torch

from gpu_ssl.config import SVMConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.methods.baselines import raw_pixels
from gpu_ssl.methods.evaluation import Predictions, predict_splits
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.kernels import Kernel, scale_gamma
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty


def predict(dataset: Dataset, labels: np.ndarray, **changes: object) -> Predictions:  # type: ignore[type-arg]
    stopwatch = Stopwatch(torch.device("cpu"))
    arguments: dict[str, object] = {
        "counts": (20, 100),
        "splits": 2,
        "seed": 0,
        "config": SVMConfig(),
        "backend": SklearnBackend(),
    }
    predictions = predict_splits(
        raw_pixels(dataset),
        labels,
        **(arguments | changes),  # type: ignore[arg-type]
        stopwatch=stopwatch,
        advance=lambda note: None,
    )
    assert stopwatch.seconds["fit"] > 0
    assert stopwatch.seconds["score"] > 0
    return predictions


def test_predictions_are_those_of_an_svm_on_the_splits_images(digits: Dataset) -> None:
    predictions = predict(digits, digits.train.labels)
    features = raw_pixels(digits)
    chosen = labelled_indices(digits.train.labels, 100, seed=0, split=1)
    points = features.train(chosen)
    penalty = Penalty(SVMConfig().C, Kernel(gamma=scale_gamma(points)))
    model = fit_one_vs_one(SklearnBackend(), points, digits.train.labels[chosen], 10, penalty)
    assert np.array_equal(predictions[100][1], model.predict(features.test))
    assert not np.array_equal(predictions[100][0], predictions[100][1])


def test_an_svm_sees_the_labels_of_its_own_images_alone(digits: Dataset) -> None:
    labels = digits.train.labels
    seen = []

    class Spy(SklearnBackend):
        def solve_pairs(self, grouped, sizes, penalty, weights):  # type: ignore[no-untyped-def]
            seen.append((grouped, sizes))
            return super().solve_pairs(grouped, sizes, penalty, weights)

    predict(digits, labels, backend=Spy(), splits=3)
    expected = [labelled_indices(labels, n, 0, split) for n in (20, 100) for split in range(3)]
    assert len(seen) == len(expected)
    pixels = raw_pixels(digits).train
    for (grouped, sizes), chosen in zip(seen, expected, strict=True):
        assert np.array_equal(sizes, np.bincount(labels[chosen]))
        assert np.array_equal(grouped, pixels(chosen[np.argsort(labels[chosen], kind="stable")]))


def test_all_labels_are_one_split(digits: Dataset) -> None:
    predictions = predict(digits, digits.train.labels, counts=(len(digits.train),), splits=5)
    assert len(predictions[len(digits.train)]) == 1
