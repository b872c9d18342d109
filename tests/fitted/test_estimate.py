"""The estimated accuracy of a model: images are judged by models that were not fitted to their labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.fitted import estimate as module
from gpu_ssl.fitted.estimate import difficulty_weights, judge, with_baseline
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.fitted.near_copies import find_groups
from gpu_ssl.methods import auto, network, validation
from gpu_ssl.methods.method import Labelled, Options, fit_method
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm._sklearn import SklearnBackend
from tests.fitted.bursts import frames, scenes
from tests.fitted.conftest import CONFIG, ONE_EPOCH, own
from tests.methods import view_of

N = 60
NAMES = tuple("0123456789")


@pytest.fixture
def view(digits: Dataset) -> View:
    encoders = {"pixels": Pixels((1, 8, 8))}
    stopwatch = Stopwatch(torch.device("cpu"))
    return View(digits.train.images[:200], encoders, SklearnBackend(), stopwatch, False, torch.float32)


@pytest.fixture
def labelled(digits: Dataset) -> Labelled:
    """Six digits of each class."""
    rows = labelled_indices(digits.train.labels[:200], N, 0, 0)
    return Labelled(rows, digits.train.labels[rows])


@pytest.mark.parametrize(("method", "folds", "judged"), [("raw-svc", 5, N), ("cnn", 1, N // 3)])
def test_images_are_judged_by_models_of_others_alone(
    view: View, labelled: Labelled, monkeypatch: pytest.MonkeyPatch, method: str, folds: int, judged: int
) -> None:
    """All of them in turn; a method that trains networks judges a third of them, once."""
    monkeypatch.setattr(network, "FEWEST", 10)
    monkeypatch.setattr(network, "PASSES", 1)
    learned: list[np.ndarray] = []
    asked: list[np.ndarray] = []
    subset = View.subset

    def fit_and_note(view: View, labelled: Labelled, options: Options) -> Any:
        if options.method == method:  # and not the SVM that tells how hard images are
            learned.append(labelled.rows)
        return fit_method(view, labelled, options)

    def subset_and_note(self: View, rows: np.ndarray) -> View:
        asked.append(rows)
        return subset(self, rows)

    monkeypatch.setattr("gpu_ssl.methods.method.fit_method", fit_and_note)
    monkeypatch.setattr(View, "subset", subset_and_note)
    estimate = judge(view, labelled, Options(method), NAMES).estimate
    assert estimate is not None
    assert estimate.of == judged
    assert sum(b.size for b in estimate.bins) == judged
    assert len(learned) == folds
    asked = asked[:folds]
    for rows, others in zip(learned, asked, strict=True):
        assert sorted([*rows, *others]) == labelled.rows.tolist()
    assert len(set(np.concatenate(asked).tolist())) == judged


def test_a_third_counts_as_if_it_were_as_hard_as_all(view: View, labelled: Labelled) -> None:
    """The SVM is right on the same share of the weighted images as of all; so a lucky third does no harm."""
    options = Options("cnn")
    svm = validation.cross_validate(
        view, labelled, Options("svm", "pixels"), validation.folds_of(labelled, Options("svm"))
    )
    right = np.zeros(N, dtype=bool)
    right[svm.positions] = svm.predicted == labelled.classes[svm.positions]
    positions = np.concatenate([np.flatnonzero(right)[:9], np.flatnonzero(~right)[:3]])
    judged = svm._replace(positions=positions)
    weights = difficulty_weights(view, labelled, options, judged)
    assert np.average(right[positions], weights=weights) == pytest.approx(right.mean())
    assert np.unique(np.asarray(weights)).size == 2
    assert np.mean(weights) == pytest.approx(1)
    assert difficulty_weights(view, labelled, Options("svm", "pixels"), svm) == 1.0
    only_right = svm._replace(positions=np.flatnonzero(right))
    assert difficulty_weights(view, labelled, options, only_right) == 1.0


def test_the_interval_is_wilsons(view: View, labelled: Labelled) -> None:
    estimate = judge(view, labelled, Options("raw-svc"), NAMES).estimate
    assert estimate is not None
    n, p, z = estimate.of, estimate.accuracy, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * ((p * (1 - p) + z**2 / (4 * n)) / n) ** 0.5 / (1 + z**2 / n)
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_a_class_with_a_single_label_leaves_nothing_to_check_with(view: View, labelled: Labelled) -> None:
    once = np.sort(np.unique(labelled.classes, return_index=True)[1])
    calibration, estimate, _ = judge(view, labelled.take(once), Options("raw-svc"), NAMES)
    assert estimate is None
    assert (calibration.slope, calibration.power) == (1, 1)


def test_of_many_labelled_images_some_are_enough_for_the_baseline(
    digits: Dataset, fitted: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, before = own(digits, 300), fitted.record.estimate
    assert before is not None
    rows = np.flatnonzero(images.labels >= 0)
    labelled = Labelled(rows, images.labels[rows])
    seen: list[int] = []
    original = validation.cross_validate

    def note(view: View, labelled: Labelled, options: Options, folds: Any) -> Any:
        seen.append(len(labelled.rows))
        return original(view, labelled, options, folds)

    monkeypatch.setattr(module, "cross_validate", note)
    monkeypatch.setattr(module, "BASELINE_WORK", 64 * 100**2)
    estimate = with_baseline(before, images, labelled, CONFIG)
    assert seen == [100]
    assert estimate.raw_pixels is not None
    assert 0.7 < estimate.raw_pixels < 1
    assert (estimate.of, estimate.right) == (before.of, before.right)


def test_it_stands_beside_raw_pixels_and_the_most_frequent_class(fitted: Fit) -> None:
    estimate = fitted.record.estimate
    assert estimate is not None
    assert estimate.raw_pixels is not None
    assert 0.85 < estimate.raw_pixels <= 1
    assert estimate.most_frequent == pytest.approx(0.1, abs=0.01)


def test_a_single_label_a_class_gives_a_model_without_an_estimate(digits: Dataset, tmp_path: Path) -> None:
    single = fit(own(digits, 10), ONE_EPOCH, tmp_path / "checkpoint.json", SILENT)
    assert single.record.estimate is None
    assert single.record.chosen.reason == "too few labelled images to compare"
    assert single.model.predict(digits.test.images).probabilities.max() <= 1


def test_copies_of_a_labelled_image_tell_nothing_of_each_other(digits: Dataset, tmp_path: Path) -> None:
    images = own(digits, 100)
    rows = np.flatnonzero(images.labels >= 0)
    copied = np.concatenate([np.arange(len(images)), np.repeat(rows, 3)])
    names = tuple(map(str, range(len(copied))))
    several = OwnImages(names, images.images[copied], images.labels[copied], images.class_names, {})
    estimate = fit(several, ONE_EPOCH, tmp_path / "checkpoint.json", SILENT).record.estimate
    assert estimate is not None
    assert estimate.of == 100
    assert estimate.accuracy < 1  # as it would be if each were judged by its copies


def test_a_copy_whose_label_contradicts_is_no_crash(digits: Dataset, tmp_path: Path) -> None:
    """The only image of a class is a copy of one of another class."""
    images = digits.train.images[:40].copy()
    classes = np.where(np.arange(40) < 20, 0, -1)
    images[30], classes[30] = images[2], 1
    contradicting = OwnImages(tuple(map(str, range(40))), images, classes, ("a", "b"), {})
    model = fit(contradicting, ONE_EPOCH, tmp_path / "checkpoint.json", SILENT)
    assert model.record.estimate is None
    assert model.model.predict(images).probabilities.shape == (40, 2)


def test_a_class_with_a_single_label_does_not_take_the_estimate_from_the_others(
    digits: Dataset, tmp_path: Path
) -> None:
    images = own(digits, 100)
    nines = np.flatnonzero(images.labels == 9)
    images.labels[nines[1:]] = -1
    record = fit(images, ONE_EPOCH, tmp_path / "checkpoint.json", SILENT).record
    estimate = record.estimate
    assert estimate is not None
    assert (estimate.not_judged, estimate.of) == (("9",), 90)
    last = estimate.classes[9]
    assert (last.name, last.support, last.recall, last.precision, last.f1) == ("9", 0, None, None, None)
    assert record.n_labelled["9"] == 1
    assert estimate.accuracy > 0.7
    assert estimate.raw_pixels is not None


def test_scores_of_classes_follow_from_the_confusion_matrix(view: View, labelled: Labelled) -> None:
    """As scikit-learn has them."""
    estimate = judge(view, labelled, Options("raw-svc"), NAMES).estimate
    assert estimate is not None
    matrix = estimate.confusion_matrix()
    assert (matrix.sum(), np.trace(matrix)) == (estimate.of, estimate.right)
    assert np.array_equal(matrix.sum(axis=1), [own.support for own in estimate.classes])
    true, named = np.repeat(np.indices((10, 10)).reshape(2, -1), matrix.ravel(), axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(true, named, zero_division=0)
    assert np.allclose([own.recall for own in estimate.classes], recall)
    assert np.allclose([own.precision or 0 for own in estimate.classes], precision)
    assert np.allclose([own.f1 for own in estimate.classes], f1)
    assert [own.support for own in estimate.classes] == support.tolist()
    assert estimate.macro_f1 == pytest.approx(f1.mean())
    assert estimate.most_frequent == pytest.approx(support.max() / support.sum())


def test_planted_wrong_labels_are_most_of_those_that_look_wrong(digits: Dataset) -> None:
    rng = np.random.default_rng(0)
    classes = digits.train.labels[:600].copy()
    planted = rng.choice(600, 30, replace=False)
    classes[planted] = (classes[planted] + rng.integers(1, 10, 30)) % 10
    labelled = Labelled(np.arange(600), classes)
    view = view_of(digits.train.images, [Pixels((1, 8, 8))])
    suspects = judge(view, labelled, Options("raw-svc"), NAMES).suspects
    found = [suspect.row for suspect in suspects]
    assert np.isin(found, planted).mean() > 0.85
    assert np.isin(planted, found).mean() > 0.7
    for suspect in suspects:
        assert suspect.given == classes[suspect.row] != suspect.suggested
        assert 0 < suspect.confidence <= 1
    right = [s.suggested == digits.train.labels[s.row] for s in suspects if s.row in planted]
    assert np.mean(right) > 0.9


def test_of_bursts_with_labels_of_a_coin_the_interval_holds_one_half() -> None:
    """Where frames of a burst are on both sides of a fold it never does."""
    rng, n_scenes, length = np.random.default_rng(0), 24, 5
    pixels = frames(scenes(n_scenes, rng), length, rng, move=0)
    view, rows = view_of(pixels, [Pixels((1, 20, 20))]), np.arange(n_scenes * length)
    groups = find_groups(view, rows, rows, None).of_images
    held: dict[str, list[bool]] = {"grouped": [], "alone": []}
    for seed in range(40):
        coins = np.repeat(np.random.default_rng(seed).integers(0, 2, n_scenes), length)
        for name, known in (("grouped", groups), ("alone", None)):
            estimate = judge(view, Labelled(rows, coins, known), Options("raw-svc"), "ab").estimate
            assert estimate is not None
            held[name].append(estimate.low <= 0.5 <= estimate.high)
    assert np.mean(held["grouped"]) >= 0.9
    assert not any(held["alone"])


def test_where_all_of_a_class_is_one_burst_the_estimate_says_so(tmp_path: Path) -> None:
    """Each class is a burst: copies are on both sides, and all of them count as two judgements."""
    rng = np.random.default_rng(0)
    pixels = np.repeat(scenes(2, rng), 20, axis=0) + rng.normal(0, 2, (40, 1, 20, 20))
    images = pixels.clip(0, 255).round().astype(np.uint8)
    burst = OwnImages(tuple(map(str, range(40))), images, np.repeat([0, 1], 20), ("a", "b"), {})
    record = fit(burst, ONE_EPOCH, tmp_path / "checkpoint.json", SILENT).record
    estimate = record.estimate
    assert estimate is not None
    assert record.near_copies == 40
    assert estimate.copies_apart
    assert estimate.independent < 1
    assert (estimate.low < 0.2, estimate.accuracy) == (True, 1)


def test_what_the_user_calls_a_group_is_never_on_both_sides(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = replace(own(digits, 100), groups=np.arange(len(digits.train)) % 7)
    rows = np.flatnonzero(images.labels >= 0)
    folds: list[Any] = []
    original = validation.cross_validate

    def note(view: View, labelled: Labelled, options: Options, own: Any) -> Any:
        folds.extend((labelled.rows[learn], labelled.rows[check]) for learn, check in own)
        return original(view, labelled, options, own)

    for user in (module, auto):
        monkeypatch.setattr(user, "cross_validate", note)
    estimate = fit(images, ONE_EPOCH, tmp_path / "checkpoint.json", SILENT).record.estimate
    assert estimate is not None
    assert estimate.of == len(rows)
    assert estimate.independent < 8
    assert len(folds) > 10
    for learn, check in folds[:-5]:  # the last are those of the baseline, by number
        assert not set(learn % 7) & set(check % 7)
    apart = replace(images, groups=images.labels)
    record = fit(apart, ONE_EPOCH, tmp_path / "other.json", SILENT).record
    assert record.estimate is None
