"""Labelled images that predict each other better than new ones are found, and others are not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.encoders.pixels import Pixels
from gpu_ssl.fitted.near_copies import find_groups
from gpu_ssl.methods.view import View
from tests.fitted.bursts import frames, scenes
from tests.methods import view_of

N, LENGTH = 30, 6


def on_pixels(images: NDArray[np.uint8]) -> View:
    return view_of(images, [Pixels(images.shape[1:])])


def groups_of(images: NDArray[np.uint8], given: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    rows = np.arange(len(images))
    return find_groups(on_pixels(images), rows, rows, given).of_images


@pytest.fixture(scope="module")
def bursts() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return frames(scenes(N, rng), LENGTH, rng)


def test_frames_of_a_burst_belong_together_and_scenes_do_not(bursts: NDArray[np.uint8]) -> None:
    groups = groups_of(bursts)
    for group in set(groups.tolist()):
        assert len(set(np.flatnonzero(groups == group) // LENGTH)) == 1
    same = groups[:, None] == groups
    scene = np.arange(len(groups)) // LENGTH
    assert same[scene[:, None] == scene].mean() > 0.8


def test_frames_in_which_noise_is_all_there_is_are_known_by_their_distance() -> None:
    """Their pixels do not correlate; in features they are much nearer to each other than to others."""
    levels = np.repeat(np.arange(20, 240, 20), 4)[:, None, None, None]
    images = levels + np.random.default_rng(0).normal(0, 2, (len(levels), 1, 16, 16))
    groups = groups_of(images.round().astype(np.uint8))
    assert np.array_equal(groups, np.repeat(np.arange(11), 4))


def test_likeness_that_is_not_enough_alone_links_what_has_near_copies() -> None:
    """A burst that came apart into two is joined; an image that is only like its frames is not."""
    rng = np.random.default_rng(0)
    base = scenes(20, rng)

    def like(image: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
        return image + rng.normal(0, noise, image.shape)

    other = like(base[0], 12)  # correlates by 0.96
    images = np.stack([base[0], like(base[0], 1), other, like(other, 1), like(base[0], 12), *base[1:]])
    groups = groups_of(images.clip(0, 255).round().astype(np.uint8))
    assert np.array_equal(groups[:5] == groups[0], [True, True, True, True, False])
    assert len(set(groups.tolist())) == 21


def test_of_ordinary_images_few_are_near_copies(digits: Dataset) -> None:
    rows = np.arange(1000)
    found = find_groups(on_pixels(digits.train.images), rows, rows, None)
    assert found.n_near_copies < 30
    assert np.bincount(found.of_images).max() < 10


def test_rows_of_numbers_have_none() -> None:
    rows = np.random.default_rng(0).integers(0, 9, (50, 1, 1, 4), dtype=np.uint8)
    assert len(set(groups_of(rows).tolist())) == 50


def test_what_the_user_says_and_equal_pixels_join_groups(bursts: NDArray[np.uint8]) -> None:
    images = bursts[::LENGTH][:8]
    given = np.array([-1, -1, 3, 3, -1, 5, 5, -1])
    keys = np.array([0, 1, 2, 3, 2, 5, 6, 7])  # as if the fifth equalled the third
    found = find_groups(on_pixels(images), np.arange(8), keys, given)
    kinds = [
        set(np.flatnonzero(found.of_images == group).tolist()) for group in set(found.of_images.tolist())
    ]
    assert sorted(kinds, key=min) == [{0}, {1}, {2, 3, 4}, {5, 6}, {7}]
    assert np.array_equal(found.of_images, found.given)
    assert found.n_near_copies == 0


def test_near_copies_join_what_is_given_and_are_counted(bursts: NDArray[np.uint8]) -> None:
    images = bursts[[0, 1, LENGTH, 2 * LENGTH]]
    images[1] = np.clip(images[0].astype(int) + 1, 0, 255)
    found = find_groups(on_pixels(images), np.arange(4), np.arange(4), np.array([-1, 7, 7, -1]))
    assert len(set(found.of_images[:3].tolist())) == 1
    assert found.of_images[3] != found.of_images[0]
    assert len(set(found.given.tolist())) == 3
    assert found.n_near_copies == 2


def test_without_encoders_pixels_are_compared(bursts: NDArray[np.uint8]) -> None:
    rows = np.arange(4)
    found = find_groups(view_of(np.repeat(bursts[::LENGTH][:2], 2, axis=0)), rows, rows, None)
    assert np.array_equal(found.of_images, [0, 0, 1, 1])


@pytest.mark.parametrize("n", [1, 2])
def test_the_fewest_images(bursts: NDArray[np.uint8], n: int) -> None:
    assert len(set(groups_of(bursts[::LENGTH][:n]).tolist())) == n


def test_images_of_one_colour_do_not_correlate() -> None:
    images = (
        np.full((12, 1, 16, 16), 0, np.uint8) + np.arange(0, 240, 20, dtype=np.uint8)[:, None, None, None]
    )
    assert len(set(groups_of(images).tolist())) == 12
