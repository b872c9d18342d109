"""Decoding images of any size and format to uint8 arrays of one shape."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from itertools import chain, islice
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from gpu_ssl.data.opening import Page, Source, formats, has_pages, is_deep, numbers_of, opened
from gpu_ssl.data.preparation import AS_IS, NO_DATA, STRIP, ImageShape, Preparation
from gpu_ssl.errors import DataError, lacks_memory

SMALL_FILE = 16_384
"""Average file size in bytes below which a single thread decodes."""

BLOCK = 64
"""Number of images that a thread decodes per task."""

ORIENTATION = 0x0112
"""EXIF tag of the orientation."""

SMALL = 128
"""Target size, in pixels of the longest side, up to which JPEGs are decoded at twice the target size or more.
For larger targets they are decoded at the target size or more: half the time, and as good for a network."""

LARGE = 2**24
"""Number of pixels above which images are decoded one at a time, to bound memory."""

_one_large_image = Lock()


class OutOfReachError(DataError):
    """The file could not be accessed, but may be readable later: no permission, or a disk failure."""


class Decoded(NamedTuple):
    """A decoded image, uint8 of shape (channels, height, width), with flags for warnings.

    `blank`: all pixels are equal. `squeezed`: the aspect ratio of a long strip was changed to fit the shape.
    `paged`: the file holds further pages, which were not read.
    """

    pixels: NDArray[np.uint8]
    blank: bool
    squeezed: bool
    paged: bool


Outcome = Decoded | DataError


def decode(source: Source, shape: ImageShape, how: Preparation = AS_IS) -> Decoded:
    """Decode an image and fit it into `shape`.

    The EXIF orientation is applied, colours are converted from the ICC profile to sRGB, and the image is
    resized with its aspect ratio kept, unless it is a long strip. Transparent pixels and padding get the
    grey level `how.ground`.

    Raises
    ------
    DataError
        If the file is not a readable image; the message is the reason.
    OutOfReachError
        If the file could not be accessed.
    """
    mode = "L" if shape[0] == 1 else "RGB"
    _, height, width = shape
    try:
        with opened(source, how.large_images) as image:
            paged = how.pages == "first" and has_pages(image)
            if (image.width * image.height) > LARGE:
                with _one_large_image:
                    content = _content(image, mode, (width, height), how)
            else:
                content = _content(image, mode, (width, height), how)
            blank = _is_blank(content)
            content, squeezed = _fitted(content, (width, height), how.ground)
            pixels = np.asarray(content)
    except Exception as error:  # damaged files make decoders raise exceptions of many types
        if lacks_memory(error):  # the file may be whole
            raise MemoryError(str(error)) from error
        kind = OutOfReachError if isinstance(error, OSError) and error.errno is not None else DataError
        raise kind(_reason(error)) from error
    return Decoded(pixels[None] if mode == "L" else pixels.transpose(2, 0, 1), blank, squeezed, paged)


def _content(image: Image.Image, mode: str, size: tuple[int, int], how: Preparation) -> Image.Image:
    """Load an image upright, with 8 bits per channel, reduced while loading if it is much too large."""
    finer = 2 if max(size) <= SMALL else 1
    least = size if _is_strip(image.size, size) else _within(image.size, size)
    image.draft(mode, (finer * least[0], finer * least[1]))
    profile = image.info.get("icc_profile")
    factor = _reduction(image.size, size)
    if image.width * image.height > LARGE and max(factor) > 1 and image.mode not in ("P", "PA"):
        reducible = {"1": "L", "I;16": "I", "I;16B": "I", "I;16L": "I", "I;16N": "I"}.get(image.mode)
        image = (image.convert(reducible) if reducible else image).reduce(factor)
    image.load()  # EXIF data may follow the pixels
    if image.getexif().get(ORIENTATION, 1) != 1:  # exif_transpose always copies
        image = ImageOps.exif_transpose(image)
    return _flat(_in_srgb(image, profile), mode, how)


def _reduction(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return the factors by which width and height may be reduced, to no less than four times the target.

    Both factors are equal, except that a strip's longer side may be reduced more while it stays a strip.
    """
    across, down = (max(1, old // (4 * new)) for old, new in zip(size, wanted, strict=True))
    wider = size[0] * wanted[1] / (size[1] * wanted[0])
    most = min(across, down) * max(1, int(max(wider, 1 / wider) / (1.01 * STRIP)))
    return min(across, most), min(down, most)


def _flat(image: Image.Image, mode: str, how: Preparation) -> Image.Image:
    """Return an image without transparency, with 8 bits per channel."""
    if is_deep(image):
        image = Image.fromarray(_scaled(numbers_of(image), image.mode == "F", how))
    elif image.has_transparency_data:
        transparent = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (how.ground, how.ground, how.ground, 255))
        image = Image.alpha_composite(ground, transparent)
    return image if image.mode == mode else image.convert(mode)


def _scaled(values: NDArray[np.float64], fractions: bool, how: Preparation) -> NDArray[np.uint8]:
    valid = np.abs(values) < NO_DATA  # false for NaN
    if not valid.any():
        raise DataError("it holds no finite number")
    low, high = how.low, how.high
    if low is None or high is None:
        low, high = 0.0, (65535.0 if not fractions else 255.0 if values[valid].max() > 1 else 1.0)
    levels = (np.where(valid, values, low) - low) * (255 / (high - low))
    scaled: NDArray[np.uint8] = levels.clip(0, 255).round().astype(np.uint8)
    return scaled


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image from its ICC profile to sRGB; return it unchanged if that fails."""
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    with suppress(Exception):  # a damaged profile, or one for another colour mode
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    return image


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the transform from a profile to sRGB; None if the profile is sRGB."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    if "srgb" in ImageCms.getProfileDescription(source).lower():
        return None
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _is_blank(image: Image.Image) -> bool:
    extremes = image.getextrema()
    channels = extremes if isinstance(extremes[0], tuple) else (extremes,)
    return all(low == high for low, high in channels)


def _is_strip(old: tuple[int, int], new: tuple[int, int]) -> bool:
    wider = (old[0] / old[1]) / (new[0] / new[1])
    return max(wider, 1 / wider) > STRIP


def _within(old: tuple[int, int], new: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size within `new` that has the aspect ratio of `old`."""
    scale = min(new[0] / old[0], new[1] / old[1])
    return max(1, round(scale * old[0])), max(1, round(scale * old[1]))


def _fitted(image: Image.Image, size: tuple[int, int], ground: int) -> tuple[Image.Image, bool]:
    """Resize an image, padding it to keep its aspect ratio; also return whether it was squeezed instead."""
    if image.size == size:
        return image, False
    if _is_strip(image.size, size):
        return image.resize(size, Image.Resampling.BILINEAR), True
    colour = ground if image.mode == "L" else (ground, ground, ground)
    return ImageOps.pad(image, size, Image.Resampling.BILINEAR, color=colour), False


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def decode_all(
    sources: Iterable[Source], shape: ImageShape, how: Preparation = AS_IS, ahead: int = 4
) -> Iterator[list[Outcome]]:
    """Decode images in background threads and yield them in order, `BLOCK` at a time.

    Parameters
    ----------
    sources : iterable of Path, bytes or Page
        Encoded images; may be endless, read at most `ahead` blocks per thread in advance.
    shape : tuple of int
        Channels, height and width of every image.
    how : Preparation
        See `decode`.

    Yields
    ------
    list of (Decoded or DataError)
        Each decoded image, or the error if it cannot be decoded.
    """

    def work(block: list[Source]) -> list[Outcome]:
        return [_outcome(lambda source=source: decode(source, shape, how)) for source in block]  # type: ignore[misc]

    formats()  # register the formats once, before the threads start
    first = list(islice(source := iter(sources), BLOCK))
    source = chain(first, source)
    workers = _n_workers(first)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        waiting = [pool.submit(work, block) for block in islice(_blocks(source), ahead * workers)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(work, block) for block in islice(_blocks(source), 1)]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _n_workers(sources: Sequence[Source]) -> int:
    """Return the number of decoding threads for images like these.

    Small images spend most time in Python, where threads wait for each other: on 2 cores, two threads
    decode 28 x 28 images at half the speed of one.
    """
    total = 0
    for source in sources:
        with suppress(OSError, ValueError):  # ValueError: a name with a null character
            path = source.source if isinstance(source, Page) else source
            total += len(path) if isinstance(path, bytes) else path.stat().st_size
    if total < SMALL_FILE * len(sources):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcome(decoded: Callable[[], Decoded]) -> Outcome:
    try:
        return decoded()
    except DataError as error:
        return error


def _blocks(sources: Iterator[Source]) -> Iterator[list[Source]]:
    while block := list(islice(sources, BLOCK)):
        yield block
