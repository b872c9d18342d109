"""Encoded images of any size and format as uint8 arrays of one shape."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gpu_ssl.errors import DataError

ImageShape = tuple[int, int, int]
"""Channels, height and width."""

Source = Path | bytes
"""An encoded image: a file, or its content."""

SIDE = 64
"""Longest side that is chosen for images: finer detail costs time and seldom tells classes apart."""

LEAST_SIDE = 8
"""Shortest side in pixels: the networks make nothing of less."""

WHITE = 65535
"""Value of white in images of 16 bits, unless they are found to use fewer."""

COMMON = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
SMALL_FILE = 16_384
"""Bytes, on average, below which files are decoded by one thread."""

BLOCK = 64
"""Images that a thread decodes at a time."""


class OutOfReachError(DataError):
    """An image that may be read another time: no permission, or a disk that does not answer."""


@cache
def formats() -> tuple[str, ...]:
    """Return the names of the formats that are read: all of Pillow's but EPS, for which it runs a program.

    Pillow tries them in this order, and asks some by opening the file: common ones first saves a third.
    """
    Image.init()
    common = [name for name in COMMON if name in Image.OPEN]
    return (*common, *sorted(set(Image.OPEN) - {"EPS", *common}))


def suffixes() -> frozenset[str]:
    """Return the endings, lower case and with their dot, of the files that are read."""
    known = formats()
    return frozenset(end for end, name in Image.registered_extensions().items() if name in known)


def choose_shape(sources: Sequence[Source], side: int | None = None) -> ImageShape:
    """Choose the shape of all images from the headers of some.

    Images of one size keep their proportions, with the longest side at most `SIDE` and none shorter than
    `LEAST_SIDE`; those of several sizes become squares. They get one channel where none of those looked at
    has colours.

    Parameters
    ----------
    sources : sequence of Path or bytes
        The images to look at.
    side : int, optional
        Longest side in pixels.

    Raises
    ------
    DataError
        If no image can be read.
    """
    sizes, grey = set(), True
    for source in sources:
        try:
            with _opened(source) as image:
                turned = image.getexif().get(0x0112, 1) >= 5
                sizes.add(image.size[::-1] if turned else image.size)
                grey = grey and image.mode in GREY_MODES
        except Exception:  # noqa: BLE001 (a broken file; whoever decodes it will tell)
            continue
    if not sizes:
        raise DataError("none of the images that were looked at can be read")
    channels = 1 if grey else 3
    if len(sizes) > 1:
        square = side or max(LEAST_SIDE, min(SIDE, int(np.median([max(size) for size in sizes]))))
        return channels, square, square
    ((width, height),) = sizes
    scale = (side or min(SIDE, max(width, height))) / max(width, height)
    return channels, max(LEAST_SIDE, round(height * scale)), max(LEAST_SIDE, round(width * scale))


def choose_white(sources: Sequence[Source]) -> int:
    """Return the value of white in images of more than 8 bits, by the largest that some of them hold.

    Cameras and scanners of 10, 12 or 14 bits write files of 16 bits; taken as such their images are dark.
    """
    largest = -1
    for source in sources:
        try:
            with _opened(source) as image:
                if _is_deep(image):
                    largest = max(largest, int(np.asarray(image).max(initial=0)))
        except Exception:  # noqa: BLE001 (a broken file; whoever decodes it will tell)
            continue
    fitting = [2**bits - 1 for bits in (8, 10, 12, 14, 16) if largest < 2**bits]
    return fitting[0] if largest >= 0 and fitting else WHITE


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "I" or image.mode.startswith("I;16")


def _opened(source: Source) -> Image.Image:
    if isinstance(source, bytes):
        if not source:
            raise DataError("it holds no bytes")
        return Image.open(io.BytesIO(source), formats=formats())
    # A pipe would let us wait for ever.
    if not source.is_file():
        raise DataError("no file is there")
    return Image.open(source, formats=formats())


def decode(source: Source, shape: ImageShape, white: int = WHITE) -> NDArray[np.uint8]:
    """Read an encoded image and fit it into `shape`.

    The image is turned as its camera says, and scaled to fit whole, with black around; what is transparent
    shows black too. Of several frames the first counts. Of more than 8 bits, `white` becomes 255.

    Returns
    -------
    ndarray of shape (channels, height, width), uint8

    Raises
    ------
    DataError
        If the file is not a readable image; the message is the reason. `OutOfReachError`, if it may be one.
    """
    channels, height, width = shape
    try:
        with _opened(source) as opened:
            opened.draft("L" if channels == 1 else "RGB", (2 * width, 2 * height))
            image = _flat(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB", white)
            if image.size != (width, height):
                image = ImageOps.pad(image, (width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders meet hostile bytes, and raise whatever they like
        kind = OutOfReachError if isinstance(error, OSError) and error.errno is not None else DataError
        raise kind(_reason(error)) from error
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _flat(image: Image.Image, mode: str, white: int) -> Image.Image:
    """Return an image without transparency or more than 8 bits."""
    if image.mode == "F" or _is_deep(image):
        values = np.asarray(image, dtype=np.float64)
        # Of whole numbers all images are scaled alike; only of real ones either 1 or 255 is white.
        white = white if image.mode != "F" else 255 if values.max(initial=0) > 1 else 1
        image = Image.fromarray((values * (255 / white)).clip(0, 255).round().astype(np.uint8))
    elif image.has_transparency_data:
        transparent = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), transparent)
    return image if image.mode == mode else image.convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def decode_all(
    sources: Iterable[Source], shape: ImageShape, white: int = WHITE, ahead: int = 4
) -> Iterator[list[tuple[Source, NDArray[np.uint8] | DataError]]]:
    """Decode images beside the work of the caller, and give them back in order, `BLOCK` at a time.

    Parameters
    ----------
    sources : iterable of Path or bytes
        May be endless; read no further ahead than `ahead` blocks a thread.
    shape : tuple of int
        Channels, height and width of every image.
    white : int
        See `decode`.

    Yields
    ------
    list of (Path or bytes, ndarray or DataError)
        Each image as it came with its pixels, or with what is wrong with it.
    """

    def work(block: list[Source]) -> list[tuple[Source, NDArray[np.uint8] | DataError]]:
        return [(source, _outcome(lambda source=source: decode(source, shape, white))) for source in block]  # type: ignore[misc]

    formats()  # once, and not by all threads at the same time
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
    """Return how many threads decode images like these.

    Of small ones most of the work is Python's, and threads would wait for each other: on 2 cores two decode
    28 x 28 pixels half as fast as one.
    """
    total = 0
    for source in sources:
        with suppress(OSError):
            total += len(source) if isinstance(source, bytes) else source.stat().st_size
    if total < SMALL_FILE * len(sources):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcome(decoded: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8] | DataError:
    try:
        return decoded()
    except DataError as error:
        return error


def _blocks(sources: Iterator[Source]) -> Iterator[list[Source]]:
    while block := list(islice(sources, BLOCK)):
        yield block
