"""The benchmark of the estimate: frames as they are meant, and figures on a small set."""

import numpy as np

from benchmarks.estimate import LENGTH, SCENES, bursts, coins, ordinary, smooth
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.pixels import Pixels
from tests.methods import view_of


def test_of_coins_only_grouped_estimates_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    images = bursts(smooth(rng), 3, 0, rng)
    assert images.shape == (SCENES * LENGTH, 3, 32, 32)
    found = coins(view_of(images, [Pixels((3, 32, 32))]), "raw-svc", 3)
    assert found["linked"] == 1
    assert found["grouped"]["held"] > found["alone"]["held"] == 0


def test_ordinary_images_are_counted(digits: Dataset) -> None:
    view = view_of(digits.train.images, [Pixels((1, 8, 8))])
    few, many = ordinary(view, np.random.default_rng(0))
    assert (few["labels"], many["labels"]) == (100, 1000)
    assert few["near"] < 10
