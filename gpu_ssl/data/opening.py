"""Opens encoded images of every format, by what is in them; nothing is decoded yet."""

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


class Page(NamedTuple):
    """A page of a file, or of its content, counted from 0."""

    source: Path | bytes
    number: int


Source = Path | bytes | Page
"""An encoded image: a file, its content, or a page of it."""

COMMON = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
KNOWN_BY_CONTENT = (*COMMON, "JPEG2000", "AVIF", "HEIF", "PSD")
"""Formats whose first bytes tell them apart from text and programs, whatever a file is called."""

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

LARGEST = 2**30
"""Bytes that a decoded image may take. Pillow's own limit is in pixels, and refuses scans in black and white
that take a fifth of that."""

# fmt: off
RAW = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw",
    ".rw2", ".sr2", ".srf", ".srw",
))
# fmt: on
"""Endings of cameras' raw files; some hold a small preview that passes for a TIFF."""

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_limit = Lock()
"""Held while Pillow's limit is lifted: it is one for the whole process."""

EXTRA = "do: pip install 'gpu-ssl[formats]'"


@cache
def formats() -> tuple[str, ...]:
    """Return the names of the formats that are read: all of Pillow's but EPS, for which it runs a program.

    Pillow tries them in this order, and asks some by opening the file: common ones first saves a third.
    """
    Image.init()
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    common = [name for name in COMMON if name in Image.OPEN]
    return (*common, *sorted(set(Image.OPEN) - {"EPS", *common}))


@cache
def suffixes() -> frozenset[str]:
    """Return the endings, lower case and with their dot, of the files that are read."""
    known = formats()
    return frozenset(end for end, name in Image.registered_extensions().items() if name in known) - RAW


@cache
def reads_dicom() -> bool:
    """Whether the package that reads DICOM is installed."""
    return find_spec("pydicom") is not None


def begins_as_image(start: bytes) -> bool:
    """Whether the first bytes of a file are those of an image that is read."""
    if is_dicom(start):
        return reads_dicom()
    return any(
        (accept := Image.OPEN[name][1]) is not None and accept(start[:16]) is True
        for name in KNOWN_BY_CONTENT
        if name in formats()
    )


def is_image_file(path: Path) -> bool:
    """Whether a file is called, or begins, as an image that is read.

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
    """Return what a file that is not read is, by its first bytes and its ending; None if it is no picture."""
    if is_dicom(start):
        return f"DICOM is not read without pydicom; {EXTRA}"
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS and "HEIF" not in formats():
        return f"HEIC is not read without pillow-heif; {EXTRA}"
    if ending in RAW:
        return "raw files of cameras are not read; save them as JPEG, PNG or TIFF"
    if b"<svg" in start:
        return "SVG is not read; save it as PNG"
    if start.startswith(b"%PDF"):
        return "PDF is not read; save its pages as images"
    if start[4:8] == b"ftyp" or start[:4] in (b"RIFF", b"\x1aE\xdf\xa3"):
        return "films are not read; save their frames as images"
    return None


@contextmanager
def opened(source: Source, large_images: bool = False) -> Iterator[Image.Image]:
    """Open an image for the length of a block.

    Raises
    ------
    DataError
        If it is empty, no file, or would take too much memory. Pillow raises what it likes of the rest.
    """
    page = source.number if isinstance(source, Page) else 0
    content = source.source if isinstance(source, Page) else source
    if isinstance(content, bytes):
        if not content:
            raise DataError("it holds no bytes")
        file: IO[bytes] = io.BytesIO(content)
    else:
        # A pipe would let us wait for ever.
        if not content.is_file():
            raise DataError("no file is there")
        file = content.open("rb")
    with file, ExitStack() as stack:
        start = file.read(132)
        file.seek(0)
        if not start:
            raise DataError("it holds no bytes")
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
        raise DataError(what_it_is(start, "") or "not an image that Pillow knows") from error


@contextmanager
def _without_limit() -> Iterator[None]:
    """Lift Pillow's limit for the length of a block; ours, in bytes, stays."""
    with _limit:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def _check_memory(image: Image.Image) -> None:
    if image.format == "JPEG":  # is read reduced
        return
    width, height = image.size
    size = (
        width * height * (1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4)
    )
    if size > LARGEST:
        raise DataError(
            f"its {width:,} x {height:,} pixels take {size / 2**30:.1f} GiB of memory; give `large_images` "
            "if you trust it"
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an image has more than 8 bits a channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def numbers_of(image: Image.Image) -> NDArray[np.float64]:
    """Return the pixels of a deep image, (height, width)."""
    return np.asarray(image, dtype=np.float64)


def turned_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image when it is turned as its camera says."""
    width, height = image.size
    if image.format == "TIFF":  # has been turned by Pillow
        return width, height
    return (height, width) if image.getexif().get(0x0112, 1) >= 5 else (width, height)


def has_pages(image: Image.Image) -> bool:
    """Whether an open file holds several pages or frames; previews and layers of a picture are none."""
    return bool(getattr(image, "is_animated", False)) and image.format not in ("MPO", "PSD")


def count_pages(path: Path) -> int:
    """Return the number of pages or frames of a file; 1 for what cannot be opened."""
    try:
        with opened(path, large_images=True) as image:
            return int(getattr(image, "n_frames", 1)) if has_pages(image) else 1
    except Exception:  # noqa: BLE001 (a broken file; whoever decodes it will tell)
        return 1
