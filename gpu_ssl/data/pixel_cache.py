"""Decoded images, kept as memory maps in the user's cache: files are decoded once."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
import platformdirs
from numpy.typing import NDArray

from gpu_ssl.data.decoding import ImageShape, OutOfReachError, choose_shape, decode_all
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.files import atomic_path, write_text
from gpu_ssl.runtime.progress import Progress

READER = 1
"""Version of what becomes of a file; part of the name that its pixels are kept under."""


def decoded(
    folder: Path, names: Sequence[str], side: int | None, progress: Progress
) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Return the pixels of the readable ones of files, and what was skipped.

    Parameters
    ----------
    folder : Path
        Where they are.
    names : sequence of str
        Their paths below it.
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

    Raises
    ------
    DataError
        If none can be read.
    """
    paths = [folder / name for name in names]
    shape = choose_shape(paths, side)
    cached = cache_dir() / f"{_fingerprint(folder, names, shape)}.npy"
    notes = cached.with_suffix(".json")
    if not (cached.is_file() and notes.is_file()):
        skipped: dict[str, str] = {}
        lasting = True
        with atomic_path(cached) as temporary:
            pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(names), *shape))
            _reserve(temporary)
            n = 0
            with progress.task("decode", len(names)) as advance:
                for block in decode_all(paths, shape):
                    for path, outcome in block:
                        if isinstance(outcome, DataError):
                            skipped[path.relative_to(folder).as_posix()] = str(outcome)
                            lasting = lasting and not isinstance(outcome, OutOfReachError)
                        else:
                            pixels[n] = outcome
                            n += 1
                    advance("", len(block))
            pixels.flush()
            del pixels
        # Without its notes the file is not taken for whole, and images out of reach are tried again.
        if lasting:
            write_text(notes, json.dumps(skipped))
    else:
        skipped = json.loads(notes.read_text(encoding="utf-8"))
    # Copy on write: torch shares the memory of arrays that it may write to, and writes nothing.
    pixels = np.load(cached, mmap_mode="c")[: len(names) - len(skipped)]
    if not len(pixels):
        name, reason = next(iter(skipped.items()))
        raise DataError(
            f"none of the {len(names)} images in {folder} can be read, such as {name!r}: {reason}"
        )
    return pixels, skipped


def _reserve(path: Path) -> None:
    """Take the space for a file with holes: writing to its memory map on a full disk kills the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def cache_dir() -> Path:
    """Return the folder that decoded images are kept in."""
    return platformdirs.user_cache_path("gpu-ssl") / "decoded"


def _fingerprint(folder: Path, names: Sequence[str], shape: ImageShape) -> str:
    """Return a hash of what decides the pixels of files, short of reading them."""
    origin = f"{READER} {PIL.__version__} {shape} {folder.absolute()}"
    digest = hashlib.sha256(origin.encode(errors="surrogateescape"))
    for name in names:
        try:
            found = (folder / name).stat()
            state = f"{found.st_size}\0{found.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{name}\0{state}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
