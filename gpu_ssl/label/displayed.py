"""Images for a browser: cached thumbnails and large versions, always re-encoded."""

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpu_ssl.data.decoding import decode
from gpu_ssl.data.encoded import ImageFiles
from gpu_ssl.data.opening import Page, opened, turned_size
from gpu_ssl.data.own import OwnImages
from gpu_ssl.errors import GpuSslError
from gpu_ssl.runtime.cache import cache_folder, forget_old, mark_used
from gpu_ssl.runtime.files import atomic_path

KIND: Final = "thumbnails"
"""Folder in the cache."""

SMALL, LARGE = 256, 1600
"""Maximum side length in pixels of a thumbnail, and of a zoomed image."""

IN_A_FOLDER = 1000
"""Number of thumbnails per folder of the cache."""

LARGEST_FILE = 2**28
"""Maximum size in bytes of a file that is shown."""


class EncodedImage(NamedTuple):
    """An encoded image, and its media type."""

    content: bytes
    kind: str


class DisplayedImages:
    """The images of a collection by their numbers, for display.

    Files below the folder are read again, to show more than the models see. Symbolic links are not followed:
    a file may have been replaced by one that points outside the folder. In that case, and for arrays and
    Parquet files, what was read at the start is shown.

    Parameters
    ----------
    images : OwnImages
        The images.
    """

    def __init__(self, images: OwnImages) -> None:
        self._images = images
        encoded = images.originals.encoded if images.originals is not None else None
        self._files = encoded if isinstance(encoded, ImageFiles) else None
        usual, shown = images.how.usual_shape, images.image_shape
        finer = usual is not None and max(usual[1:]) > max(shown[1:])
        self._folder = self._make_folder() if finer and self._files is not None else None

    def small(self, number: int) -> EncodedImage:
        """Return a thumbnail."""
        if self._folder is None:
            return _encode(self._images.images[number])
        path = self._folder / str(number // IN_A_FOLDER) / f"{number}.jpg"
        with suppress(OSError):
            return EncodedImage(path.read_bytes(), "image/jpeg")
        pixels = self._original(number, SMALL)
        if pixels is None:
            return _encode(self._images.images[number])
        thumbnail = _encode(pixels, "JPEG")
        with suppress(GpuSslError), atomic_path(path) as temporary:
            temporary.write_bytes(thumbnail.content)
        return thumbnail

    def large(self, number: int) -> EncodedImage:
        """Return a zoomed image."""
        pixels = self._original(number, LARGE) if self._files is not None else None
        return _encode(self._images.images[number]) if pixels is None else _encode(pixels, "JPEG")

    def _make_folder(self) -> Path | None:
        place = str(self._files.place.absolute()) if self._files is not None else ""
        digest = hashlib.sha256(f"{place} {self._images.sha256} {self._images.how}".encode(errors="replace"))
        try:
            parent = cache_folder(KIND)
            forget_old(parent)
            folder = parent / digest.hexdigest()[:32]
            folder.mkdir(exist_ok=True)
        except (OSError, GpuSslError):
            return None
        mark_used(folder)
        return folder

    def _original(self, number: int, longest: int) -> NDArray[np.uint8] | None:
        """Decode a file again; None if it is gone, or behind a symbolic link."""
        if self._files is None:
            return None
        name, page = self._files.pages.get(self._images.names[number], (self._images.names[number], 0))
        how = self._images.how
        try:
            with open_below(self._files.place, name) as file:
                content = file.read(LARGEST_FILE)
            with opened(content, how.large_images) as image:
                width, height = turned_size(image)
            scale = min(1.0, longest / max(width, height))
            shape = self._images.image_shape[0], max(1, round(scale * height)), max(1, round(scale * width))
            return decode(Page(content, page) if page else content, shape, how).pixels
        except Exception:  # noqa: BLE001 (decoders raise any error on hostile bytes)
            return None


@contextmanager
def open_below(folder: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a regular file below a folder by a path without symbolic links.

    Parameters
    ----------
    folder : Path
        The folder, which may itself be a link.
    name : str
        Path below it, with ``/``.

    Raises
    ------
    OSError
        If the file does not exist, or a part of the path is a link.
    """
    *folders, last = name.split("/")
    if any(part in ("", ".", "..") for part in (*folders, last)) or os.open not in os.supports_dir_fd:
        raise OSError(f"{name} is not a path below a folder")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        # Opening a pipe would block.
        found = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
    with os.fdopen(found, "rb") as file:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(f"{name} is not a regular file")
        yield file


def _encode(pixels: NDArray[np.uint8], kind: str = "PNG") -> EncodedImage:
    """Encode pixels (channels, height, width)."""
    image = Image.fromarray(
        pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 88} if kind == "JPEG" else {"compress_level": 1}))
    return EncodedImage(file.getvalue(), f"image/{kind.lower()}")
