"""Labelled images that belong together: never on both sides of a fold, and one judgement."""

from pathlib import Path

import numpy as np
import pytest

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.methods import auto
from gpu_ssl.methods.method import Options, fit_method
from gpu_ssl.methods.validation import cross_validate, folds_of
from tests.encoders import fitted
from tests.methods import choose, view_of

ON_PIXELS = Options("svm", encoder="pixels")


def test_images_of_a_group_are_not_judged_by_each_other(digits: Dataset, tmp_path: Path) -> None:
    """Pairs of the same image with random labels: by its copy an image is always classified correctly."""
    rows = np.random.default_rng(0).permutation(len(digits.train))[:100]
    pixels = digits.train.images[np.repeat(rows, 2)]
    encoders = fitted(pixels, tmp_path, "pixels").values()
    classes = np.repeat(np.arange(100) % 2, 2)
    alone = choose(digits, 100)._replace(rows=np.arange(200), classes=classes)
    paired = alone._replace(groups=np.arange(200) // 2)
    shares = []
    for labelled in (alone, paired):
        judged = cross_validate(view_of(pixels, encoders), labelled, ON_PIXELS, folds_of(labelled, ON_PIXELS))
        shares.append(np.mean(judged.predicted == classes[judged.positions]))
    assert shares[0] > 0.75
    assert shares[1] < 0.65
    assert np.array_equal(paired.take(np.array([4, 5, 7])).groups, [2, 2, 3])


def test_of_candidates_a_group_is_one_judgement() -> None:
    """Ten frames of a scene that one method names right by luck are no ten proofs."""
    right, wrong = np.ones(10), np.zeros(10)
    assert auto._lead(right, wrong) == pytest.approx(10**0.5)
    assert auto._lead(right, wrong, np.zeros(10, np.int64)) == pytest.approx(1)


def test_candidates_are_compared_on_the_images_that_are_left_out(digits: Dataset, tmp_path: Path) -> None:
    """The one image of a class never is; the others are all the same."""
    labelled = choose(digits, 100)
    single = np.append(np.flatnonzero(labelled.classes < 9), np.flatnonzero(labelled.classes == 9)[:1])
    some = labelled.take(np.sort(single))
    view = view_of(digits.train.images, fitted(digits.train.images, tmp_path, "pixels").values())
    options = Options("auto", encoder="pixels")
    own, why = auto.choose(view, some, options)
    assert why.reason.startswith("90 labelled images held out in turn")
    assert min(why.shares.values()) > 0.7
    assert fit_method(view, some, own).n_classes == 10
