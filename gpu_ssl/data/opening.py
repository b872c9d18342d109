"""Opening encoded images, with the format recognized by content; pixels are not decoded yet."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gpu_ssl.errors import DataError
from gpu_ssl.runtime.optional import install_advice


class Page(NamedTuple):
    """A page of a file, or of its content, counted from 0."""

    source: Path | bytes
    number: int


Source = Path | bytes | Page
"""An encoded image: a file, the content of a file, or a page of a file."""

COMMON = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
KNOWN_BY_CONTENT = (*COMMON, "JPEG2000", "AVIF", "HEIF", "PSD")
"""Formats that are recognized by their first bytes, independent of the file name."""

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

LARGEST = 2**30
"""Maximum size of a decoded image in bytes. Pillow's limit counts pixels, and rejects black-and-white scans
of a fifth of this size."""

# fmt: off
RAW = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw",
    ".rw2", ".sr2", ".srf", ".srw",
))
# fmt: on
"""Endings of camera raw files; some contain a small preview that Pillow would open as a TIFF."""

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_limit = Lock()
"""Held while Pillow's limit is lifted, because the limit is global to the process."""


@cache
def formats() -> tuple[str, ...]:
    """Return the supported formats: all of Pillow's except EPS, for which it runs an external program.

    Pillow tries the formats in this order; common formats first save a third of the time.
    """
    Image.init()
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    common = [name for name in COMMON if name in Image.OPEN]
    return (*common, *sorted(set(Image.OPEN) - {"EPS", *common}))


@cache
def suffixes() -> frozenset[str]:
    """Return the file name endings of the supported formats, in lower case with the dot."""
    known = formats()
    return frozenset(end for end, name in Image.registered_extensions().items() if name in known) - RAW


@cache
def reads_dicom() -> bool:
    """Whether pydicom is installed."""
    return find_spec("pydicom") is not None


def begins_as_image(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a supported image format."""
    if is_dicom(start):
        return reads_dicom()
    return any(
        (accept := Image.OPEN[name][1]) is not None and accept(start[:16]) is True
        for name in KNOWN_BY_CONTENT
        if name in formats()
    )


def is_image_file(path: Path) -> bool:
    """Whether a file is a supported image, by its ending or its first bytes.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return path.suffix.lower() in suffixes() or begins_as_image(file.read(132))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def is_dicom(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a DICOM file."""
    return start[128:132] == b"DICM"


def what_it_is(start: bytes, ending: str) -> str | None:
    """Return why an image, recognized by first bytes and ending, is not supported; None for other files."""
    if is_dicom(start):
        return f"DICOM needs pydicom; {install_advice('formats')}"
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS and "HEIF" not in formats():
        return f"HEIC needs pillow-heif; {install_advice('formats')}"
    if ending in RAW:
        return "camera raw files are not supported; save them as JPEG, PNG or TIFF"
    if b"<svg" in start:
        return "SVG is not supported; save it as PNG"
    if start.startswith(b"%PDF"):
        return "PDF is not supported; save its pages as images"
    if start[4:8] == b"ftyp" or start[:4] in (b"RIFF", b"\x1aE\xdf\xa3"):
        return "video is not supported; save its frames as images"
    return None


@contextmanager
def opened(source: Source, large_images: bool = False) -> Iterator[Image.Image]:
    """Open an image as a context manager.

    Raises
    ------
    DataError
        If the source is empty, not a file, or would take too much memory. Other exceptions are Pillow's.
    """
    page = source.number if isinstance(source, Page) else 0
    content = source.source if isinstance(source, Page) else source
    if isinstance(content, bytes):
        if not content:
            raise DataError("it is empty")
        file: IO[bytes] = io.BytesIO(content)
    else:
        # Reading a pipe would block.
        if not content.is_file():
            raise DataError("not a file")
        file = content.open("rb")
    with file, ExitStack() as stack:
        start = file.read(132)
        file.seek(0)
        if not start:
            raise DataError("it is empty")
        if is_dicom(start) and reads_dicom():
            from gpu_ssl.data.dicom import read_dicom

            image = read_dicom(file, page)
        else:
            image = _pillow(file, start, stack)
            if page:
                image.seek(page)
        with image:
            if not large_images:
                _check_memory(image)
            yield image


def _pillow(file: IO[bytes], start: bytes, stack: ExitStack) -> Image.Image:
    try:
        return Image.open(file, formats=formats())
    except Image.DecompressionBombError:
        file.seek(0)
        stack.enter_context(_without_limit())
        return Image.open(file, formats=formats())
    except UnidentifiedImageError as error:
        raise DataError(what_it_is(start, "") or "not an image that Pillow can read") from error


@contextmanager
def _without_limit() -> Iterator[None]:
    """Lift Pillow's pixel limit within the context; `LARGEST` still applies."""
    with _limit:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def _check_memory(image: Image.Image) -> None:
    if image.format == "JPEG":  # decoded at a reduced size
        return
    width, height = image.size
    size = (
        width * height * (1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4)
    )
    if size > LARGEST:
        raise DataError(
            f"its {width:,} x {height:,} pixels take {size / 2**30:.1f} GiB of memory; set `large_images` if "
            "you trust the file"
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an image has more than 8 bits per channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def numbers_of(image: Image.Image) -> NDArray[np.float64]:
    """Return the pixel values of a deep image, shape (height, width)."""
    return np.asarray(image, dtype=np.float64)


def turned_size(image: Image.Image) -> tuple[int, int]:
    """Return the width and height of an image after applying its EXIF orientation."""
    width, height = image.size
    if image.format == "TIFF":  # Pillow has applied the orientation already
        return width, height
    return (height, width) if image.getexif().get(0x0112, 1) >= 5 else (width, height)


def has_pages(image: Image.Image) -> bool:
    """Whether an open file holds several pages or frames; previews and layers do not count."""
    return bool(getattr(image, "is_animated", False)) and image.format not in ("MPO", "PSD")


def count_pages(path: Path) -> int:
    """Return the number of pages or frames of a file; 1 if it cannot be opened."""
    try:
        with opened(path, large_images=True) as image:
            return int(getattr(image, "n_frames", 1)) if has_pages(image) else 1
    except Exception:  # noqa: BLE001 (a damaged file, which is reported when it is decoded)
        return 1
