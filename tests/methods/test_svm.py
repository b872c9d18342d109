"""SVMs of weighted classes, and of more classes than can be coupled in pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from gpu_ssl.config import SVMConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.errors import UsageError
from gpu_ssl.methods import svm
from gpu_ssl.methods.method import Labelled, Options, fit_method
from gpu_ssl.methods.saving import load_classifier, save_classifier
from gpu_ssl.methods.svm import COUPLED, SVMClassifier, balanced_weights
from gpu_ssl.methods.validation import cross_validate, folds_of
from gpu_ssl.methods.view import View
from gpu_ssl.svm._sklearn import SklearnBackend
from tests.methods import view_of

K = COUPLED + 10
SHAPE = (1, 8, 8)


def options(class_weight: str = "none", C: float = 5.0) -> Options:
    return Options("svm", encoder="pixels", svm=SVMConfig.of(class_weight=class_weight, C=C))


@pytest.mark.parametrize("width", [8, 16], ids=["narrow", "on a kernel matrix"])
def test_balanced_classes_weigh_as_in_scikit_learn(digits: Dataset, width: int) -> None:
    """Of ten classes, one has 2 labelled images and others up to 60; C is so small that it binds."""
    labels = digits.train.labels
    counts = np.array([2, 60, 5, 30, 10, 3, 8, 40, 20, 4])
    rows = np.sort(np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in enumerate(counts)]))
    factor = width // 8
    train, test = (
        np.kron(part.images, np.ones((1, 1, factor, factor), np.uint8))
        for part in (digits.train, digits.test)
    )
    encoder = Pixels((1, width, width))
    labelled = Labelled(rows, labels[rows])
    views = view_of(train, [encoder]), view_of(test, [encoder])
    points, new = (encoder(torch.from_numpy(images)).numpy() for images in (train[rows], test))
    found = {}
    for weight, theirs in (("balanced", "balanced"), ("none", None)):
        classifier = fit_method(views[0], labelled, options(weight, C=0.3))
        svc = SVC(C=0.3, class_weight=theirs).fit(points, labels[rows])
        found[weight] = classifier.predict(views[1])
        assert np.array_equal(found[weight], svc.predict(new))
        assert isinstance(classifier, SVMClassifier)
        np.testing.assert_allclose(-classifier.decisions(views[1]), _pairs(svc, new), atol=4e-3)
    assert np.mean(found["balanced"] != found["none"]) > 0.01


def _pairs(svc: SVC, points: np.ndarray) -> np.ndarray:
    return svc.set_params(decision_function_shape="ovo").decision_function(points)  # type: ignore[no-any-return]


def test_weights_sum_to_the_same_for_every_class() -> None:
    classes = np.array([0, 0, 0, 1, 2, 2])
    weights = balanced_weights(classes)
    np.testing.assert_allclose(np.bincount(classes, weights), [2, 2, 2])


@pytest.fixture(scope="module")
def species() -> tuple[View, View, Labelled]:
    """Views of noisy images of more classes than are coupled: four labelled ones of each, and others."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 256, (K, *SHAPE))
    classes = np.repeat(np.arange(K), 4)
    encoder = Pixels(SHAPE)
    pictures = [(kinds[classes] + rng.normal(0, 90, (4 * K, *SHAPE))).clip(0, 255) for _ in range(2)]
    views = [view_of(images.astype(np.uint8), [encoder]) for images in pictures]
    return views[0], views[1], Labelled(np.arange(4 * K), classes)


def test_many_classes_are_named_as_by_scikit_learn(species: tuple[View, View, Labelled]) -> None:
    train, test, labelled = species
    classifier = fit_method(train, labelled, options())
    points, new = (view.points(view.encoder("pixels")) for view in (train, test))
    expected = SVC(C=5).fit(points, labelled.classes).predict(new)
    decisions = classifier.decisions(test)
    assert not classifier.pairwise
    assert decisions.shape == (4 * K, K)
    assert np.array_equal(classifier.predict(test), expected)
    assert np.array_equal(classifier.winners(decisions), expected)
    assert 0.5 < np.mean(expected == labelled.classes) < 1


def test_too_many_classes_are_refused_with_what_to_do(
    species: tuple[View, View, Labelled], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(svm, "MOST_CLASSES", K - 1)
    with pytest.raises(UsageError, match=r"60 classes would have 1,770 pairs,.*`method=graph`"):
        fit_method(species[0], species[2], options())


def test_many_classes_are_judged_by_class(species: tuple[View, View, Labelled]) -> None:
    train, _, labelled = species
    judged = cross_validate(train, labelled, options(), folds_of(labelled, options()))
    assert judged.decisions.shape == (4 * K, K)
    assert not judged.pairwise
    assert np.array_equal(judged.predicted, judged.decisions.argmax(axis=1))


def test_a_model_of_many_classes_is_stored_and_exported(
    species: tuple[View, View, Labelled], tmp_path: Path
) -> None:
    train, test, labelled = species
    classifier = fit_method(train, labelled, options())
    save_classifier(tmp_path / "c.json", classifier)
    again = load_classifier(tmp_path / "c.json", SklearnBackend(), torch.device("cpu"))
    decisions = classifier.decisions(test)
    view = view_of(test.pixels, [again.encoder])
    np.testing.assert_array_equal(again.decisions(view), decisions)
    with torch.no_grad():
        exported = classifier.module()(test.features(test.encoder("pixels")))
    np.testing.assert_allclose(exported, decisions, atol=1e-4)
