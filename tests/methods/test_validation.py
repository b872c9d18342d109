"""Cross-validation: every label is judged by a model not fitted to it, in folds with every class."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.splits import FOLDS, stratified_folds
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.methods.method import Labelled, Options, fit_method
from gpu_ssl.methods.validation import (
    ENOUGH,
    FOLDS_OF_NETWORKS,
    MANY_CLASSES,
    cross_validate,
    folds_of,
    folds_to_compare,
)
from tests.encoders import fitted
from tests.methods import choose, view_of

ON_PIXELS = Options("svm", encoder="pixels")


@pytest.fixture(scope="module")
def pixels(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return fitted(digits.train.images, tmp_path_factory.mktemp("pixels"), "pixels")["pixels"]


@pytest.mark.parametrize("sizes", [(2, 9), (5, 5, 5), (30, 7), (1, 4)])
def test_every_fold_learns_from_every_class_and_each_label_is_checked_once(sizes: tuple[int, ...]) -> None:
    classes: NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)
    folds = stratified_folds(classes, 0)
    if min(sizes) < 2:
        assert folds == []
        return
    assert len(folds) == min(FOLDS, *sizes)
    assert sorted(np.concatenate([check for _, check in folds])) == list(range(len(classes)))
    for learn, check in folds:
        assert set(classes[learn]) == set(range(len(sizes)))
        assert not set(learn) & set(check)


def test_a_method_that_trains_networks_is_judged_once(digits: Dataset) -> None:
    """On a third of the labelled images: each fold is a training."""
    labelled = choose(digits, 100)
    assert len(folds_of(labelled, Options("m1"))) == FOLDS == 5
    ((learn, check),) = folds_of(labelled, Options("consistency"))
    assert FOLDS_OF_NETWORKS == 3
    assert (len(learn), len(check)) == (66, 34)
    assert folds_of(labelled.take(np.array([0])), Options("m1")) == []


def test_of_many_classes_no_more_folds_are_compared_than_needed() -> None:
    few, many = (stratified_folds(np.repeat(np.arange(k), 3), 0) for k in (MANY_CLASSES, MANY_CLASSES + 100))
    assert folds_to_compare(few, MANY_CLASSES) == few
    assert folds_to_compare(many, MANY_CLASSES + 100) == many[:2]
    assert sum(len(check) for _, check in many[:2]) >= ENOUGH > len(many[0][1])
    assert folds_to_compare(many[:1], MANY_CLASSES + 100) == many[:1]
    assert folds_to_compare([], MANY_CLASSES + 100) == []


def test_judgements_are_those_of_models_on_the_other_folds(digits: Dataset, pixels: Encoder) -> None:
    """scikit-learn's SVC, fitted fold by fold, says the same."""
    labelled = choose(digits, 100)
    points = digits.train.images[labelled.rows].reshape(100, -1).astype(np.float32) / 255
    folds = folds_of(labelled, ON_PIXELS)
    judged = cross_validate(view_of(digits.train.images, [pixels]), labelled, ON_PIXELS, folds)
    assert judged.pairwise
    assert judged.decisions.shape == (100, 45)
    assert np.array_equal(judged.positions, np.concatenate([check for _, check in folds]))
    start = 0
    for learn, check in folds:
        svc = SVC(C=5).fit(points[learn], labelled.classes[learn])
        assert np.array_equal(judged.predicted[start : start + len(check)], svc.predict(points[check]))
        start += len(check)


@pytest.mark.parametrize("options", [ON_PIXELS, Options("graph", encoder="pixels")])
def test_a_label_never_counts_for_its_own_judgement(
    digits: Dataset, pixels: Encoder, options: Options
) -> None:
    """With the labels of a fold spoiled, its predictions are the same."""
    labelled = choose(digits, 100)
    view = view_of(digits.train.images, [pixels])
    folds = folds_of(labelled, options)
    honest = cross_validate(view, labelled, options, folds)
    _, check = folds[2]
    classes = labelled.classes.copy()
    classes[check] = (classes[check] + 1) % 10
    spoiled = cross_validate(view, Labelled(labelled.rows, classes), options, folds)
    of_fold = np.isin(honest.positions, check)
    assert np.array_equal(spoiled.decisions[of_fold], honest.decisions[of_fold])
    assert not np.array_equal(spoiled.decisions[~of_fold], honest.decisions[~of_fold])


@pytest.mark.parametrize("method", ["svm", "graph"])
def test_only_labelled_images_are_encoded_and_each_once(
    digits: Dataset, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five folds of an SVM cost one encoding of the labelled images; the graph needs all, once."""
    encoder = fitted(digits.train.images, tmp_path, "pixels")["pixels"]
    encoded = []
    honest = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda images: encoded.append(len(images)) or honest(images))
    labelled, options = choose(digits, 100), Options(method, encoder="pixels")
    view = view_of(digits.train.images, [encoder])
    cross_validate(view, labelled, options, folds_of(labelled, options))
    assert sum(encoded) == (100 if method == "svm" else len(digits.train))


def test_an_estimate_is_near_what_unlabelled_images_show(digits: Dataset, pixels: Encoder) -> None:
    labelled = choose(digits, 300)
    view = view_of(digits.train.images, [pixels])
    judged = cross_validate(view, labelled, ON_PIXELS, folds_of(labelled, ON_PIXELS))
    estimate = np.mean(judged.predicted == labelled.classes[judged.positions])
    classifier = fit_method(view, labelled, ON_PIXELS)
    found = np.mean(classifier.predict(view_of(digits.test.images, [pixels])) == digits.test.labels)
    assert abs(estimate - found) < 0.05
    assert torch.isfinite(torch.from_numpy(judged.decisions)).all()
