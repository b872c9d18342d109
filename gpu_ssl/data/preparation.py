"""Choosing how encoded images are converted to arrays of one shape; the choice is saved with the model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpu_ssl.data.opening import GREY_MODES, Source, is_deep, numbers_of, opened, turned_size
from gpu_ssl.errors import DataError
from gpu_ssl.records import Record

T = TypeVar("T")

ImageShape = tuple[int, int, int]
"""Channels, height and width."""

SIDE = 64
"""Maximum longest side chosen by default: finer detail costs time and seldom separates classes."""

LEAST_SIDE = 8
"""Minimum side in pixels that the networks accept."""

STRIP = 4
"""Ratio between the aspect ratios of an image and of the target shape beyond which the image is squeezed."""

GROUNDS = (0, 255, 128)
"""Background grey levels for transparent images: black, white, or grey for images that contain both."""

VISIBLE = 8
"""Minimum standard deviation of the grey levels of an image with visible content."""

DEEP_IMAGES = 200
"""Maximum number of images of more than 8 bits that are read to find their value range."""

SOME_NUMBERS = 10_000
"""Number of pixel values sampled from each of these images."""

CLIPPED = (0.1, 99.9)
"""Percentiles that bound an unusual value range, so that a few dead pixels do not determine it."""

LEAST_USED = 1 / 8
"""Fraction of a usual range that most values must span; else the images would be nearly uniform grey."""

NO_DATA = 1e30
"""Values of this magnitude and above mean no data, as in geographic rasters."""


class Preparation(Record):
    """Parameters of the conversion from encoded images to uint8 arrays.

    Parameters
    ----------
    usual_shape : tuple of int, optional
        Common shape of the images before resizing; see the function of this name.
    low, high : float, optional
        Values that are mapped to 0 and 255 in images of more than 8 bits. If None, the range is 0 to 65535
        for integers, and for floats 0 to 255, or 0 to 1 if no value is larger.
    ground : int
        Grey level of transparent pixels and of padding.
    pages : str
        ``first``: only the first page or frame of a file is read; ``all``: each is an image.
    large_images : bool
        Whether images that need more memory than `data.opening.LARGEST` are read.
    """

    usual_shape: ImageShape | None = None
    low: float | None = None
    high: float | None = None
    ground: int = 0
    pages: str = "first"
    large_images: bool = False


AS_IS = Preparation()


def choose_preparation(sources: Sequence[Source], base: Preparation) -> Preparation:
    """Return `base` with the value range and the background chosen from a sample of images."""
    low, high = choose_range(sources, base.large_images) or (None, None)
    ground = choose_ground(sources, base.large_images)
    return base.model_copy(update={"low": low, "high": high, "ground": ground})


def usual_shape(sources: Sequence[Source], large_images: bool = True) -> ImageShape:
    """Return a common shape (channels, height, width) at full size, from the headers of a sample of images.

    Images of equal size keep it. Images of several sizes get a square shape, or the median aspect ratio if
    that is a long strip. The shape has one channel if all sampled images are grey, else three.

    Parameters
    ----------
    sources : sequence of Path, bytes or Page
        The sampled images.
    large_images : bool
        Whether to include images that need more memory than `data.opening.LARGEST`.

    Raises
    ------
    DataError
        If no image can be read.
    """
    found = list(_each(sources, large_images, lambda image: (turned_size(image), image.mode in GREY_MODES)))
    if not found:
        raise DataError("none of the sampled images can be read")
    sizes = [size for size, _ in found]
    channels = 1 if all(grey for _, grey in found) else 3
    if len(set(sizes)) == 1:
        width, height = sizes[0]
        return channels, height, width
    longest = int(np.median([max(size) for size in sizes]))
    proportion = float(np.exp(np.median([np.log(width / height) for width, height in sizes])))
    if max(proportion, 1 / proportion) <= STRIP:
        return channels, longest, longest
    height, width = round(longest / max(1.0, proportion)), round(longest * min(1.0, proportion))
    return channels, max(1, height), max(1, width)


def choose_shape(usual: ImageShape, side: int | None = None) -> ImageShape:
    """Return the shape that images are resized to, with the aspect ratio of their `usual_shape`.

    The longest side is `side`, or by default at most `SIDE`; no side is shorter than `LEAST_SIDE`.
    """
    channels, height, width = usual
    scale = (side or min(SIDE, max(width, height))) / max(width, height)
    return channels, max(LEAST_SIDE, round(height * scale)), max(LEAST_SIDE, round(width * scale))


def choose_range(sources: Sequence[Source], large_images: bool = True) -> tuple[float, float] | None:
    """Return the values of black and white for images of more than 8 bits; None if there are none.

    Non-negative integers get the smallest of the ranges of 8, 10, 12, 14 or 16 bits that holds them. Floats
    get 0 to 1, -1 to 1 or 0 to 255. Other values, such as Hounsfield units in tomography, get the range
    between the percentiles `CLIPPED` of a sample.
    """

    def look(image: Image.Image) -> tuple[NDArray[np.float64], bool]:
        if not is_deep(image):
            return np.empty(0), True
        values = numbers_of(image).ravel()
        values = values[np.abs(values) < NO_DATA]
        sample = values[:: len(values) // SOME_NUMBERS + 1]
        ends = [values.min(), values.max()] if len(values) else []
        return np.concatenate([sample, ends]), image.mode != "F"

    deep = ((values, whole) for values, whole in _each(sources, large_images, look) if len(values))
    found = list(islice(deep, DEEP_IMAGES))
    if not found:
        return None
    return range_of(np.concatenate([values for values, _ in found]), all(whole for _, whole in found))


def range_of(values: NDArray[np.float64], whole: bool) -> tuple[float, float]:
    """Return the values of black and white for a sample of `values`; see `choose_range`."""
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = map(float, np.percentile(values, CLIPPED))
    usual = _usual_range(low, high, whole)
    if usual is not None and inner_high - inner_low >= LEAST_USED * (usual[1] - usual[0]):
        return usual
    if inner_low < inner_high:
        return inner_low, inner_high
    return (low, high) if low < high else usual or (low, low + 1)


def _usual_range(low: float, high: float, whole: bool) -> tuple[float, float] | None:
    """Return the usual range that contains values from `low` to `high`; None if there is none."""
    if whole and low >= 0:
        return next(((0.0, 2.0**bits - 1) for bits in (8, 10, 12, 14, 16) if high < 2**bits), None)
    if not whole and low >= -1 and high <= 1:
        return (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return (0.0, 255.0) if not whole and low >= 0 and high <= 255 else None


def choose_ground(sources: Sequence[Source], large_images: bool = True) -> int:
    """Return the background grey level on which the most transparent images are visible."""

    def look(image: Image.Image) -> list[float] | None:
        if not image.has_transparency_data:
            return None
        small = image.convert("RGBA")
        small.thumbnail((SIDE, SIDE))
        pixels = np.asarray(small, dtype=np.float64)
        colours, alpha = pixels[..., :3], pixels[..., 3:] / 255
        if alpha.min() == 1:
            return None
        return [float((ground + alpha * (colours - ground)).std((0, 1)).max()) for ground in GROUNDS]

    spreads = [found for found in _each(sources, large_images, look) if found is not None]
    if not spreads:
        return GROUNDS[0]
    unseen = (np.array(spreads) < VISIBLE).sum(axis=0)
    contrast = np.median(spreads, axis=0)
    # Of equally good backgrounds, choose the one with the highest contrast.
    return GROUNDS[min(range(len(GROUNDS)), key=lambda g: (unseen[g], -contrast[g]))]


def _each(sources: Sequence[Source], large_images: bool, look: Callable[[Image.Image], T]) -> Iterator[T]:
    """Yield the result of `look` for each image that can be opened."""
    for source in sources:
        # Damaged files are reported when they are decoded.
        with suppress(Exception), opened(source, large_images) as image:
            yield look(image)
