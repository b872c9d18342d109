"""The values of black and white in arrays of pixels, and their conversion to levels from 0 to 255."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.encoded import SURVEYED, spread_over
from gpu_ssl.data.preparation import NO_DATA, range_of
from gpu_ssl.errors import DataError

FAR = 1
"""How many ranges a value lies beyond white if it is of another range, and not an outlier of this one."""

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

    They do not depend on how dark the images are, as far as their values can be such levels, or fractions.

    Raises
    ------
    DataError
        See `range_in`.
    """
    values = _sampled(images)
    if images.dtype == np.bool_ or not len(values) or values.min() < 0 or values.max() > 255:
        return range_in(images, path)
    fractions = images.dtype.kind == "f" and values.max() <= 1
    return (0.0, 1.0) if fractions else (0.0, 255.0)


def holds_levels(images: NDArray[Any], low: float, high: float) -> bool:
    """Whether images have 255 for white, where those that a model was fitted to had `high`.

    uint8 images do if a value is larger than `high`, or `high` was of more than 8 bits; others if more than
    outliers are far beyond `high`, and all are from 0 to 255.

    Raises
    ------
    DataError
        If the values are neither in the range of the model nor levels.
    """
    if images.dtype == np.uint8:
        return high >= 255 or bool(images.max(initial=0) > high)
    values = _sampled(images)
    if not len(values) or np.percentile(values, 100 - OUTLIERS) <= high + FAR * (high - low):
        return False
    if high < 255 and values.min() >= 0 and values.max() <= 255:
        return True
    raise DataError(
        f"expected values from {low:g} to {high:g} as in the images that the model was fitted to, got values "
        f"from {values.min():g} to {values.max():g}: scale them to that range"
    )


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
