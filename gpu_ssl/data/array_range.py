"""The values of black and white in arrays of pixels, and their conversion to levels from 0 to 255."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.encoded import SURVEYED, spread_over
from gpu_ssl.data.preparation import NO_DATA, range_of
from gpu_ssl.errors import DataError

DARKEST = 32
"""Largest value from which on values up to 255 are taken for levels of 8 bits, however dark the images are.

Below, they may be of fewer bits, such as the digits of scikit-learn from 0 to 16.
"""

OUTLIERS = 1.0
"""Share of the values in % that may be outliers."""


def range_in(images: NDArray[Any], path: Path) -> tuple[float, float]:
    """Return the values that stand for black and white in images; 0 and 255 for uint8.

    Raises
    ------
    DataError
        If all sampled values are equal, or none is finite.
    """
    if images.dtype == np.uint8:
        return 0.0, 255.0
    if images.dtype == np.bool_:
        return 0.0, 1.0
    values = _sampled(images)
    if not len(values):
        raise DataError(f"{path}: none of the sampled pixel values is finite")
    if values.min() == values.max():
        raise DataError(f"{path}: all sampled pixel values are {values.min():g}")
    return range_of(values, images.dtype.kind in "iu")


def range_for_levels(images: NDArray[Any], path: Path) -> tuple[float, float]:
    """Return the values of black and white in images for a model that was fitted to levels from 0 to 255.

    Values that can be such levels are taken as they are, however dark the images; others have a range of
    their own.

    Raises
    ------
    DataError
        See `range_in`.
    """
    return (0.0, 255.0) if _are_levels(_sampled(images)) else range_in(images, path)


def holds_levels(images: NDArray[Any], low: float, high: float) -> bool:
    """Whether images have 255 for white, where those that a model was fitted to had `high`.

    uint8 images do if the values of the model cannot be levels of fewer bits: some were negative, all were
    fractions, or `high` was of more than 8 bits. Others do if the values of the model were far smaller and
    these can be levels; a few outliers, which another image of the batch may have, do not decide.

    Raises
    ------
    DataError
        If the values are far larger than those of the model, and no levels either.
    """
    if images.dtype == np.uint8 and (low < 0 or high >= 255):
        return True
    if images.dtype == np.uint8 and high <= 1:
        return bool(images.max(initial=0) > 1)
    values = _sampled(images)
    brightest = 255 if images.dtype == np.uint8 else DARKEST
    if not len(values) or high > brightest or np.percentile(values, 100 - OUTLIERS) <= high + (high - low):
        return False
    if _are_levels(values):
        return True
    if np.percentile(values, 100 - OUTLIERS) <= 255:
        return False
    raise DataError(
        f"expected values from {low:g} to {high:g} as in the images that the model was fitted to, got values "
        f"from {values.min():g} to {values.max():g}: scale them to that range"
    )


def _are_levels(values: NDArray[np.float64]) -> bool:
    """Whether values can be levels of 8 bits."""
    return len(values) > 0 and bool(values.min() >= 0 and DARKEST < values.max() <= 255)


def _sampled(images: NDArray[Any]) -> NDArray[np.float64]:
    """Return the values of images spread over all, without those that stand for no data."""
    rows = spread_over(len(images), SURVEYED)
    values: NDArray[np.float64] = np.concatenate(
        [np.empty(0), *(np.ravel(images[row]).astype(np.float64) for row in rows)]
    )
    return values[np.abs(values) < NO_DATA]  # false for NaN


def scale(images: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Scale values to uint8, `low` to 0 and `high` to 255, and clip; NaN and no-data values become 0."""
    if images.dtype == np.uint8 and (low, high) == (0, 255):
        return images
    values = images.astype(np.float32)
    values = np.where(np.abs(values) < NO_DATA, values, low)
    levels = np.rint((values - low) * (255 / (high - low)))
    scaled: NDArray[np.uint8] = levels.clip(0, 255).astype(np.uint8)
    return scaled
