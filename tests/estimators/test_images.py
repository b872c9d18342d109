"""X in every layout becomes the same images, and comes back."""

import tracemalloc

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
    assert (rows.shape, rows.is_image) == ((1, 1, 4), False)
    assert PixelFormat.of(IMAGES[:, 0], None).is_image


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
    assert np.unique(pixels.to_images(2 * X - 0.5)).tolist() == [0, 128, 255]
    assert np.unique(pixels.to_images(10 * X - 3)).tolist() == [0, 255]
    levels = pixels.to_images(np.rint(255 * X))
    assert levels.dtype == np.uint8
    assert np.array_equal(levels, pixels.to_images(X))
    with pytest.raises(UsageError, match=r"expected values from 0 to 1 .* got values from 0 to 4000"):
        pixels.to_images(4000 * X)


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


def test_values_slightly_above_those_of_bytes_are_clipped() -> None:
    """Interpolation overshoots."""
    pixels = PixelFormat.of(IMAGES[:, 0], None)
    above = np.full((1, 6, 7), 258.0)
    above[0, 0, 0] = 99.6
    assert np.unique(pixels.to_images(above)).tolist() == [100, 255]


def test_fractions_are_refused_and_dark_images_are_not() -> None:
    pixels = PixelFormat.of(IMAGES[:, 0], None)
    dark = np.zeros((1, 6, 7), np.int64)
    dark[0, 0, 0] = 1
    assert pixels.to_images(dark).max() == 1
    for fractions in (dark / 2, dark.astype(bool)):
        with pytest.raises(UsageError, match="multiply X by 255"):
            pixels.to_images(fractions)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_numbers_are_scaled_as_in_fit_whatever_their_dtype(dtype: type) -> None:
    """Images from 0 to 16, as scikit-learn's digits have them, may be bytes later; also rows of columns."""
    X = np.random.default_rng(0).integers(0, 17, (50, 4, 4))
    X[0, 0, 0] = 16
    for samples in (X, X.reshape(50, 16)):
        pixels = PixelFormat.of(samples.astype(np.float64), None)
        assert np.array_equal(pixels.to_images(samples.astype(dtype)), pixels.to_images(samples / 1.0))
    masks = PixelFormat.of(X > 8, None)
    assert np.array_equal(masks.to_images((X > 8).astype(dtype)), 255 * (X > 8)[:, None])


@pytest.mark.parametrize("high", [1.0, 65535.0])
def test_bytes_stand_for_themselves_where_fit_had_fractions_or_16_bits(high: float) -> None:
    pixels = PixelFormat.of(IMAGES[:, 0] * (high / 255), None)
    assert np.array_equal(pixels.to_images(IMAGES[:, 0]), IMAGES[:, :1])


def test_the_conversion_does_not_hold_all_images_in_float64() -> None:
    X = np.random.default_rng(0).random((20_000, 8, 8), np.float32)
    pixels = PixelFormat.of(X, None)
    tracemalloc.start()
    images = pixels.to_images(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * images.nbytes  # float64 of all images is eight times as large


def test_colours_may_come_first_or_last() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    first = images.transpose(0, 3, 1, 2)
    for fitted_to in (images, first):
        pixels = PixelFormat.of(fitted_to, None)
        assert np.array_equal(pixels.to_images(pixels.in_order(images)), first)
        assert np.array_equal(pixels.to_images(pixels.in_order(first)), first)
    grey = images[..., 0]
    assert PixelFormat.of(grey, None).in_order(grey) is grey


def test_one_brighter_pixel_does_not_change_how_a_batch_is_read() -> None:
    """A model of values from 0 to 16 gets bytes: whether they are levels is not for one pixel to decide."""
    X = np.random.default_rng(0).integers(0, 17, (50, 8, 8), dtype=np.uint8)
    pixels = PixelFormat.of(X.astype(np.float64), None)
    outlier = X.copy()
    outlier[0, 0, 0] = 17
    assert np.array_equal(pixels.to_images(outlier)[1:], pixels.to_images(X)[1:])
    levels = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    assert np.array_equal(pixels.to_images(levels), levels[:, None])
    percent = PixelFormat.of(levels * (100 / 255), None)
    assert np.array_equal(percent.to_images(levels), levels[:, None])
    standardized = PixelFormat.of(levels / 50.0 - 2, None)
    assert np.array_equal(standardized.to_images(levels // 100), levels[:, None] // 100)
