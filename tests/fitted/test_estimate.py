"""What a model says of its own accuracy: images judged by models that did not see their labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.splits import labelled_indices
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.fitted import estimate as module
from gpu_ssl.fitted.estimate import judge, with_baselines
from gpu_ssl.fitted.fitting import Fit, fit
from gpu_ssl.methods import network, validation
from gpu_ssl.methods.method import Labelled, Options, fit_method
from gpu_ssl.methods.view import View
from gpu_ssl.runtime.progress import SILENT
from gpu_ssl.runtime.timing import Stopwatch
from gpu_ssl.svm._sklearn import SklearnBackend
from tests.fitted.conftest import CONFIG, ONE_EPOCH, own

N = 60


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


@pytest.mark.parametrize(("method", "folds", "judged"), [("raw-svc", 5, N), ("cnn", 1, N // 5)])
def test_images_are_judged_by_models_of_others_alone(
    view: View, labelled: Labelled, monkeypatch: pytest.MonkeyPatch, method: str, folds: int, judged: int
) -> None:
    """All of them in turn; a method that trains networks judges a fifth of them, once."""
    monkeypatch.setattr(network, "FEWEST", 10)
    monkeypatch.setattr(network, "PASSES", 1)
    learned: list[np.ndarray] = []
    asked: list[np.ndarray] = []
    subset = View.subset

    def fit_and_note(view: View, labelled: Labelled, options: Options) -> Any:
        learned.append(labelled.rows)
        return fit_method(view, labelled, options)

    def subset_and_note(self: View, rows: np.ndarray) -> View:
        asked.append(rows)
        return subset(self, rows)

    monkeypatch.setattr(validation, "fit_method", fit_and_note)
    monkeypatch.setattr(View, "subset", subset_and_note)
    _, estimate = judge(view, labelled, Options(method))
    assert estimate is not None
    assert estimate.of == judged
    assert sum(b.size for b in estimate.bins) == judged
    assert len(learned) == len(asked) == folds
    for rows, others in zip(learned, asked, strict=True):
        assert sorted([*rows, *others]) == labelled.rows.tolist()
    assert len(set(np.concatenate(asked).tolist())) == judged


def test_the_interval_is_wilsons(view: View, labelled: Labelled) -> None:
    _, estimate = judge(view, labelled, Options("raw-svc"))
    assert estimate is not None
    n, p, z = estimate.of, estimate.accuracy, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * ((p * (1 - p) + z**2 / (4 * n)) / n) ** 0.5 / (1 + z**2 / n)
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_a_class_with_a_single_label_leaves_nothing_to_check_with(view: View, labelled: Labelled) -> None:
    once = np.sort(np.unique(labelled.classes, return_index=True)[1])
    calibration, estimate = judge(view, labelled.take(once), Options("raw-svc"))
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
    estimate = with_baselines(before, images, labelled, CONFIG)
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
