"""Decoded images, kept as memory maps in the cache: files are decoded once."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from gpu_ssl.data.arrays import scale
from gpu_ssl.data.decoding import BLOCK, OutOfReachError, decode, decode_all
from gpu_ssl.data.encoded import EncodedImages
from gpu_ssl.data.preparation import (
    LEAST_SIDE,
    ImageShape,
    Preparation,
    choose_preparation,
    choose_shape,
    usual_shape,
)
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.cache import cache_folder, cache_folders, forget_old, mark_used
from gpu_ssl.runtime.files import atomic_path, write_text
from gpu_ssl.runtime.memory_map import release
from gpu_ssl.runtime.progress import Progress

READER = 5
"""Version of what becomes of a file; part of the name that its pixels are kept under."""

KIND = "decoded"
"""Folder of the cache."""


@dataclass(frozen=True)
class Decoding:
    """The pixels of encoded images, and what was found when they were decoded.

    Parameters
    ----------
    pixels : ndarray of shape (n, channels, height, width), uint8; or (n, 1, 1, width), float32
        A memory map, of images or of embeddings; in the order of those names that were not skipped.
    how : Preparation
        How images became pixels.
    skipped : dict of str to str
        The images that cannot be read, and why.
    blank, squeezed, paged : tuple of str
        Images of which `data.decoding.Decoded` says so.
    problems : tuple of Problem
        What else the user should know of them.
    """

    pixels: NDArray[Any]
    how: Preparation
    skipped: dict[str, str]
    blank: tuple[str, ...] = ()
    squeezed: tuple[str, ...] = ()
    paged: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def decoded(images: EncodedImages, side: int | None, asked: Preparation, progress: Progress) -> Decoding:
    """Return the pixels of the readable ones of encoded images, and what was skipped.

    Parameters
    ----------
    images : EncodedImages
        What to decode.
    side : int, optional
        Longest side; see `data.preparation.choose_shape`.
    asked : Preparation
        What is not chosen by looking at the images.
    progress : Progress
        Shows how far the decoding is.

    Raises
    ------
    DataError
        If none can be read.
    """
    shape, how = surveyed(images, side, asked)
    file = f"{_fingerprint(images, shape, how)}.npy"
    whole = (len(images.names), *shape)
    found = (_kept(folder / file, whole) for folder in cache_folders(KIND))
    kept = next((each for each in found if each is not None), None)
    if kept is None:
        folder = cache_folder(KIND)
        forget_old(folder)
        cached = folder / file
        notes = _decode(images, shape, how, cached, progress)
        # Copy on write: torch shares the memory of arrays that it may write to, and writes nothing.
        kept = np.load(cached, mmap_mode="c"), notes
    pixels, notes = kept
    pixels = pixels[: len(images.names) - len(notes.skipped)]
    if not len(pixels):
        raise DataError(_none_readable(images, next(iter(notes.skipped.items()))))
    return Decoding(pixels, how, notes.skipped, tuple(notes.blank), tuple(notes.squeezed), tuple(notes.paged))


def surveyed(images: EncodedImages, side: int | None, asked: Preparation) -> tuple[ImageShape, Preparation]:
    """Look at some of the images, and return the shape that all are brought to, and how; see `decoded`."""
    some = images.survey()
    try:
        usual = usual_shape(some, asked.large_images)
    except DataError as error:
        raise DataError(_none_readable(images, _why_not(images, asked))) from error
    how = choose_preparation(some, asked).model_copy(update={"usual_shape": usual})
    return choose_shape(usual, side), how


def _none_readable(images: EncodedImages, example: tuple[str, str]) -> str:
    name, reason = example
    return f"none of the {len(images.names)} images in {images.place} can be read, such as {name!r}: {reason}"


def _why_not(images: EncodedImages, how: Preparation) -> tuple[str, str]:
    """Return the name of the first image, and why it cannot be read."""
    name, source = images.names[0], next(iter(images.sources()))
    try:
        decode(source, (1, LEAST_SIDE, LEAST_SIDE), how)
    except DataError as error:
        return name, str(error)
    return name, "it could not be read before, and can now; try again"


@dataclass(frozen=True)
class _Notes:
    """What is kept beside pixels; see `Decoding`."""

    skipped: dict[str, str] = field(default_factory=dict)
    blank: list[str] = field(default_factory=list)
    squeezed: list[str] = field(default_factory=list)
    paged: list[str] = field(default_factory=list)


def _kept(cached: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], _Notes] | None:
    """Return what was decoded before, if it is there and whole."""
    notes = cached.with_suffix(".json")
    try:
        found = _Notes(**json.loads(notes.read_text(encoding="utf-8")))
        pixels = np.load(cached, mmap_mode="c")
    except (OSError, EOFError, TypeError, ValueError):  # lost, or damaged
        return None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        return None
    mark_used(cached, notes)
    return pixels, found


def _decode(
    images: EncodedImages, shape: ImageShape, how: Preparation, cached: Path, progress: Progress
) -> _Notes:
    """Write the pixels of images to `cached`, and return what is to be told of them."""
    notes = _Notes()
    lasting = True
    with atomic_path(cached) as temporary:
        begin = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(images.names), *shape)).offset
        reserve(temporary)
        names = iter(images.names)
        # Written, not mapped: what is written to a map counts as memory of the process.
        with temporary.open("r+b") as file, progress.task("decode", len(images.names)) as advance:
            file.seek(begin)
            for block in decode_all(images.sources(), shape, how):
                for outcome in block:
                    name = next(names)
                    if isinstance(outcome, DataError):
                        notes.skipped[name] = str(outcome)
                        lasting = lasting and not isinstance(outcome, OutOfReachError)
                    else:
                        file.write(np.ascontiguousarray(outcome.pixels).data)
                        for kind in ("blank", "squeezed", "paged"):
                            if getattr(outcome, kind):
                                getattr(notes, kind).append(name)
                advance("", len(block))
    # Without its notes the file is not taken for whole, and images out of reach are tried again.
    if lasting:
        write_text(cached.with_suffix(".json"), json.dumps(asdict(notes)))
    return notes


def scaled(
    images: NDArray[Any], origin: Path, low: float, high: float, progress: Progress
) -> NDArray[np.uint8]:
    """Return the numbers of an array as uint8, 0 for `low` and 255 for `high`; a memory map of the cache.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width)
        As it lies in the file; uint8 comes back as it is.
    origin : Path
        The file.
    low, high : float
        See `data.arrays.scale`.
    progress : Progress
        Shows how far it is.
    """
    if images.dtype == np.uint8 and (low, high) == (0, 255):
        return images
    state = origin.stat()
    identity = f"{READER} {origin.absolute()} {state.st_size} {state.st_mtime_ns} {low} {high} {images.shape}"
    name = f"{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"
    for folder in cache_folders(KIND):
        if (kept := _kept(folder / name, images.shape)) is not None:
            return kept[0]
    folder = cache_folder(KIND)
    forget_old(folder)
    with atomic_path(folder / name) as temporary:
        begin = np.lib.format.open_memmap(temporary, "w+", np.uint8, images.shape).offset
        reserve(temporary)
        with temporary.open("r+b") as file, progress.task("scale", len(images)) as advance:
            file.seek(begin)
            for start in range(0, len(images), BLOCK):
                block = scale(images[start : start + BLOCK], low, high)
                file.write(np.ascontiguousarray(block).data)
                release(images)
                advance("", len(block))
    write_text((folder / name).with_suffix(".json"), "{}")
    whole: NDArray[np.uint8] = np.load(folder / name, mmap_mode="c")
    return whole


def reserve(path: Path) -> None:
    """Take the space for a file with holes, so that a full disk is noticed before the work."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _fingerprint(images: EncodedImages, shape: ImageShape, how: Preparation) -> str:
    """Return a hash of what decides the pixels of images, short of reading them."""
    origin = f"{READER} {PIL.__version__} {shape} {how} {images.place.absolute()}"
    digest = hashlib.sha256(origin.encode(errors="surrogateescape"))
    place = os.fspath(images.place)
    for name in images.files:
        try:
            # A path is made for each of many: pathlib takes longer than the system.
            found = os.stat(os.path.join(place, name) if name else place)  # noqa: PTH116, PTH118
            state = f"{found.st_size}\0{found.st_mtime_ns}"
        except (OSError, ValueError):  # the latter of a name with a null character
            state = "missing"
        digest.update(f"{name}\0{state}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
