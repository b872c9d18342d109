"""How encoded images become arrays of one shape: chosen once for all images, and kept with the model."""

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
"""Longest side that is chosen for images: finer detail costs time and seldom tells classes apart."""

LEAST_SIDE = 8
"""Shortest side in pixels: the networks make nothing of less."""

STRIP = 4
"""Longer sides of an image over those of the shape that it is fitted into, beyond which it is squeezed."""

GROUNDS = (0, 255, 128)
"""Grey levels that transparent images may be laid on: black, white, and grey where they hold both."""

VISIBLE = 8
"""Standard deviation of the grey levels of an image of which something can be seen."""

DEEP_IMAGES = 200
"""Images of more than 8 bits that are read to find the range of their numbers."""

SOME_NUMBERS = 10_000
"""Numbers of each of these that are looked at."""

CLIPPED = (0.1, 99.9)
"""Percentiles that bound a range of numbers of any kind: a few dead pixels do not decide it."""

LEAST_USED = 1 / 8
"""Part of a usual range that most numbers must fill, lest images become nearly one grey."""

NO_DATA = 1e30
"""Numbers beyond stand for no data, as in maps of the earth."""


class Preparation(Record):
    """How encoded images become uint8 arrays.

    Parameters
    ----------
    usual_shape : tuple of int, optional
        Shape of images that are given as they are; see the function of this name.
    low, high : float, optional
        Numbers that become 0 and 255 in images of more than 8 bits. Without them whole numbers run to
        65535, and others to 255, or to 1 where none is larger.
    ground : int
        Grey level beneath what is transparent, and around images of other proportions than the shape's.
    pages : str
        ``first``: of several pages or frames in a file the first counts; ``all``: each is an image.
    large_images : bool
        Whether images are read that take more memory than `data.opening.LARGEST`.
    """

    usual_shape: ImageShape | None = None
    low: float | None = None
    high: float | None = None
    ground: int = 0
    pages: str = "first"
    large_images: bool = False


AS_IS = Preparation()


def choose_preparation(sources: Sequence[Source], asked: Preparation) -> Preparation:
    """Choose the range of numbers and the ground by looking at some images."""
    low, high = choose_range(sources, asked.large_images) or (None, None)
    ground = choose_ground(sources, asked.large_images)
    return asked.model_copy(update={"low": low, "high": high, "ground": ground})


def usual_shape(sources: Sequence[Source], large_images: bool = True) -> ImageShape:
    """Return one shape for all images, at the size that they have, from the headers of some.

    That of images of one size is theirs; those of several sizes become squares, or if half of them are long
    strips get the proportions of these. They get one channel where none of those looked at has colours.

    Parameters
    ----------
    sources : sequence of Path, bytes or Page
        The images to look at.
    large_images : bool
        Whether those count that take more memory than `data.opening.LARGEST`.

    Raises
    ------
    DataError
        If no image can be read.
    """
    seen = list(_each(sources, large_images, lambda image: (turned_size(image), image.mode in GREY_MODES)))
    if not seen:
        raise DataError("none of the images that were looked at can be read")
    sizes = [size for size, _ in seen]
    channels = 1 if all(grey for _, grey in seen) else 3
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
    """Choose the shape that images are brought to, of the proportions of their `usual_shape`.

    The longest side is `side`, or at most `SIDE`, and none is shorter than `LEAST_SIDE`.
    """
    channels, height, width = usual
    scale = (side or min(SIDE, max(width, height))) / max(width, height)
    return channels, max(LEAST_SIDE, round(height * scale)), max(LEAST_SIDE, round(width * scale))


def choose_range(sources: Sequence[Source], large_images: bool = True) -> tuple[float, float] | None:
    """Return the numbers of black and white in images of more than 8 bits; None where there are none.

    Whole numbers run from 0 to the white of the cameras and scanners of 8, 10, 12, 14 or 16 bits that they
    may come from; fractions from 0 or -1 to 1, or to 255. Of others, such as the Hounsfield units of
    tomography, nearly all that were found in some images lie in the range.
    """

    def look(image: Image.Image) -> tuple[NDArray[np.float64], bool]:
        if not is_deep(image):
            return np.empty(0), True
        values = numbers_of(image).ravel()
        values = values[np.abs(values) < NO_DATA]
        some = values[:: len(values) // SOME_NUMBERS + 1]
        ends = [values.min(), values.max()] if len(values) else []
        return np.concatenate([some, ends]), image.mode != "F"

    deep = ((values, whole) for values, whole in _each(sources, large_images, look) if len(values))
    found = list(islice(deep, DEEP_IMAGES))
    if not found:
        return None
    return range_of(np.concatenate([values for values, _ in found]), all(whole for _, whole in found))


def range_of(values: NDArray[np.float64], whole: bool) -> tuple[float, float]:
    """Return the numbers that stand for black and white among `values`; see `choose_range`."""
    low, high = float(values.min()), float(values.max())
    inner_low, inner_high = map(float, np.percentile(values, CLIPPED))
    usual = _usual_range(low, high, whole)
    if usual is not None and inner_high - inner_low >= LEAST_USED * (usual[1] - usual[0]):
        return usual
    if inner_low < inner_high:
        return inner_low, inner_high
    return (low, high) if low < high else usual or (low, low + 1)


def _usual_range(low: float, high: float, whole: bool) -> tuple[float, float] | None:
    """Return the range that numbers from `low` to `high` may be meant to have."""
    if whole and low >= 0:
        return next(((0.0, 2.0**bits - 1) for bits in (8, 10, 12, 14, 16) if high < 2**bits), None)
    if not whole and low >= -1 and high <= 1:
        return (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return (0.0, 255.0) if not whole and low >= 0 and high <= 255 else None


def choose_ground(sources: Sequence[Source], large_images: bool = True) -> int:
    """Return the grey level to lay transparent images on: the first on which most of them can be seen."""

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
    # Of grounds on which as many can be seen, that which they stand out from most.
    return GROUNDS[min(range(len(GROUNDS)), key=lambda g: (unseen[g], -contrast[g]))]


def _each(sources: Sequence[Source], large_images: bool, look: Callable[[Image.Image], T]) -> Iterator[T]:
    """Look at each image that can be opened."""
    for source in sources:
        # Broken files: whoever decodes them will tell.
        with suppress(Exception), opened(source, large_images) as image:
            yield look(image)
