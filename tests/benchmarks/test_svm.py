"""The benchmark of the SVM measures what it says, and compares like with like."""

import numpy as np
import torch

from benchmarks.svm import contenders, measure, render
from gpu_ssl.data.image_set import Dataset


def test_everyone_fits_and_scores_the_same_points(digits: Dataset) -> None:
    train, test = (part.images.reshape(len(part), -1) / 255 for part in (digits.train, digits.test))
    taking_part = contenders("cpu")
    case = measure(200, 2, taking_part, (train, test, digits.train.labels))
    assert set(case["results"]) == set(taking_part) >= {"scikit-learn float64", "gpu-ssl float32"}
    for name, result in case["results"].items():
        assert len(result["fit_seconds"]) == len(result["score_seconds"]) == 2, name
        assert min(result["fit_seconds"] + result["score_seconds"]) > 0, name
        assert result["agreement"] > 0.99, name
    assert case["results"]["gpu-ssl float64"]["agreement"] == 1.0
    assert "gpu-ssl cuML float32" not in render([case])


def test_ours_gives_the_predictions_of_the_host(digits: Dataset) -> None:
    points = (digits.train.images.reshape(len(digits.train), -1) / 255).astype(np.float32)
    who = contenders("cpu")["gpu-ssl float32"]
    predicted = who.fit(who.prepare(points), digits.train.labels, 0.05)(who.prepare(points))
    assert (who.dtype, predicted.dtype, torch.is_tensor(predicted)) == (np.float32, np.int64, False)
    assert np.mean(predicted == digits.train.labels) > 0.99
