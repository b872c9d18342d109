"""X in every layout becomes the same images, and comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpu_ssl.errors import UsageError
from gpu_ssl.estimators.images import PixelFormat

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 7), dtype=np.uint8)


@pytest.mark.parametrize(
    ("X", "image_shape"),
    [
        (IMAGES, None),
        (IMAGES.transpose(0, 2, 3, 1), None),
        (IMAGES.reshape(5, -1), (3, 6, 7)),
    ],
)
def test_uint8_in_any_layout_is_taken_as_it_is(
    X: np.ndarray, image_shape: tuple[int, int, int] | None
) -> None:
    pixels = PixelFormat.of(X, image_shape)
    assert np.array_equal(pixels.to_images(X), IMAGES)
    np.testing.assert_allclose(pixels.from_intensities(IMAGES / np.float32(255)), X, atol=1e-4)


def test_grey_images_and_rows_of_numbers() -> None:
    assert PixelFormat.of(IMAGES[:, 0], None).shape == (1, 6, 7)
    rows = PixelFormat.of(np.random.default_rng(0).normal(size=(9, 4)), None)
    assert (rows.shape, rows.is_picture) == ((1, 1, 4), False)
    assert PixelFormat.of(IMAGES[:, 0], None).is_picture


@given(arrays(np.float64, (6, 4), elements=st.floats(-1e6, 1e6)))
def test_numbers_come_back_to_a_step_of_256(X: np.ndarray) -> None:
    pixels = PixelFormat.of(X, None)
    back = pixels.from_intensities((pixels.to_images(X) / 255).astype(np.float32))
    steps = (pixels.high - pixels.low) / 255
    assert (np.abs(back - X) <= 0.51 * steps + 1e-5 * np.abs(X) + 1e-9).all()


def test_pictures_keep_their_contrast_and_what_lies_beyond_is_cut() -> None:
    X = np.zeros((2, 4, 4))
    X[0], X[1, 0, 0] = 0.5, 1.0
    pixels = PixelFormat.of(X, None)
    assert np.unique(pixels.to_images(X)).tolist() == [0, 128, 255]
    assert np.unique(pixels.to_images(10 * X - 3)).tolist() == [0, 255]


@pytest.mark.parametrize(
    ("shape", "image_shape", "words"),
    [
        ((4, 10), (1, 3, 3), "image_shape=.* needs 9 features, got X with 10"),
        ((4, 6, 7), (1, 6, 7), "image_shape is only for rows of pixels"),
        ((4, 6, 7, 5), None, "1 or 3 channels"),
        ((4, 2, 3, 4, 5), None, "1 or 3 channels"),
    ],
)
def test_other_shapes_are_refused(
    shape: tuple[int, ...], image_shape: tuple[int, int, int] | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        PixelFormat.of(np.zeros(shape), image_shape)
    with pytest.raises(UsageError, match="as in fit, got X of shape"):
        PixelFormat.of(IMAGES, None).to_images(IMAGES[:, :, :5])


def test_pictures_of_another_scale_than_the_fitted_ones_are_refused() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    pixels = PixelFormat.of(images, None)
    assert np.array_equal(pixels.to_images(images.astype(np.float64)), images[:, None])
    with pytest.raises(
        UsageError, match=r"uint8 values from 0 to 255 as in fit, got values up to .*: multiply X by 255"
    ):
        pixels.to_images(images / 255)
    with pytest.raises(UsageError, match=r"as in fit, got values up to 4095: scale X to that range"):
        pixels.to_images(np.full((1, 8, 8), 4095, np.uint16))


def test_colours_may_come_first_or_last() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    first = images.transpose(0, 3, 1, 2)
    for fitted_to in (images, first):
        pixels = PixelFormat.of(fitted_to, None)
        assert np.array_equal(pixels.to_images(pixels.in_order(images)), first)
        assert np.array_equal(pixels.to_images(pixels.in_order(first)), first)
    grey = images[..., 0]
    assert PixelFormat.of(grey, None).in_order(grey) is grey
