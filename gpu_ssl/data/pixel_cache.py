"""Decoded images, kept as memory maps in the user's cache: files are decoded once."""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL
import platformdirs
from numpy.typing import NDArray

from gpu_ssl.data.decoding import ImageShape, OutOfReachError, choose_shape, choose_white, decode_all
from gpu_ssl.data.encoded import EncodedImages
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.files import atomic_path, write_text
from gpu_ssl.runtime.progress import Progress

READER = 2
"""Version of what becomes of a file; part of the name that its pixels are kept under."""

KEPT_DAYS = 30
"""Pixels that were not used for so long are deleted."""


def decoded(
    images: EncodedImages, side: int | None, progress: Progress
) -> tuple[NDArray[np.uint8], dict[str, str], int]:
    """Return the pixels of the readable ones of encoded images, and what was skipped.

    Parameters
    ----------
    images : EncodedImages
        What to decode.
    side : int, optional
        Longest side; see `data.decoding.choose_shape`.
    progress : Progress
        Shows how far the decoding is.

    Returns
    -------
    pixels : ndarray of shape (n, channels, height, width), uint8
        A memory map; in the order of those `names` that were not skipped.
    skipped : dict of str to str
        The others, and why.
    white : int
        See `data.decoding.choose_white`.

    Raises
    ------
    DataError
        If none can be read.
    """
    some = images.survey()
    shape, white = choose_shape(some, side), choose_white(some)
    del some
    cached = cache_dir() / f"{_fingerprint(images, shape, white)}.npy"
    whole = (len(images.names), *shape)
    kept = _kept(cached, whole)
    if kept is None:
        _forget_old(cached.parent)
        skipped = _decode(images, shape, white, cached, progress)
        # Copy on write: torch shares the memory of arrays that it may write to, and writes nothing.
        kept = np.load(cached, mmap_mode="c"), skipped
    pixels, skipped = kept
    pixels = pixels[: len(images.names) - len(skipped)]
    if not len(pixels):
        name, reason = next(iter(skipped.items()))
        many = f"none of the {len(images.names)} images in {images.place} can be read"
        raise DataError(f"{many}, such as {name!r}: {reason}")
    return pixels, skipped, white


def _kept(cached: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], dict[str, str]] | None:
    """Return what was decoded before, if it is there and whole."""
    notes = cached.with_suffix(".json")
    try:
        skipped = json.loads(notes.read_text(encoding="utf-8"))
        pixels = np.load(cached, mmap_mode="c")
        os.utime(cached)
    except (OSError, EOFError, ValueError):  # lost, or damaged
        return None
    return (pixels, skipped) if pixels.shape == shape and pixels.dtype == np.uint8 else None


def _decode(
    images: EncodedImages, shape: ImageShape, white: int, cached: Path, progress: Progress
) -> dict[str, str]:
    """Write the pixels of images to `cached`, and return what was skipped."""
    skipped: dict[str, str] = {}
    lasting = True
    with atomic_path(cached) as temporary:
        begin = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(images.names), *shape)).offset
        _reserve(temporary)
        names = iter(images.names)
        # Written, not mapped: what is written to a map counts as memory of the process.
        with temporary.open("r+b") as file, progress.task("decode", len(images.names)) as advance:
            file.seek(begin)
            for block in decode_all(images.sources(), shape, white):
                for _, outcome in block:
                    name = next(names)
                    if isinstance(outcome, DataError):
                        skipped[name] = str(outcome)
                        lasting = lasting and not isinstance(outcome, OutOfReachError)
                    else:
                        file.write(np.ascontiguousarray(outcome).data)
                advance("", len(block))
    # Without its notes the file is not taken for whole, and images out of reach are tried again.
    if lasting:
        write_text(cached.with_suffix(".json"), json.dumps(skipped))
    return skipped


def _forget_old(folder: Path) -> None:
    """Delete what was not used for `KEPT_DAYS`, and what a killed process left there a day ago."""
    now = time.time()
    for path in folder.glob("*.npy"):
        with suppress(OSError):
            days = (now - path.stat().st_mtime) / 86_400
            if days > (1 if path.name.startswith(".") else KEPT_DAYS):
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink()


def _reserve(path: Path) -> None:
    """Take the space for a file with holes, so that a full disk is noticed before the work."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def cache_dir() -> Path:
    """Return the folder that decoded images are kept in."""
    return platformdirs.user_cache_path("gpu-ssl") / "decoded"


def _fingerprint(images: EncodedImages, shape: ImageShape, white: int) -> str:
    """Return a hash of what decides the pixels of images, short of reading them."""
    origin = f"{READER} {PIL.__version__} {shape} {white} {images.place.absolute()}"
    digest = hashlib.sha256(origin.encode(errors="surrogateescape"))
    for name in images.files:
        try:
            found = (images.place / name).stat()
            state = f"{found.st_size}\0{found.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{name}\0{state}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
