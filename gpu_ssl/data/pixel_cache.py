"""Decoded images, kept as memory maps in the cache: files are decoded once."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from gpu_ssl.data.array_range import scale
from gpu_ssl.data.decoding import BLOCK, OutOfReachError, decode, decode_all
from gpu_ssl.data.encoded import EncodedImages
from gpu_ssl.data.kept_arrays import AGAIN, Notes, kept, mapped, version_of, written
from gpu_ssl.data.opening import formats, reads_dicom
from gpu_ssl.data.preparation import (
    LEAST_SIDE,
    ImageShape,
    Preparation,
    choose_preparation,
    choose_shape,
    usual_shape,
)
from gpu_ssl.data.problems import Problem, printable
from gpu_ssl.errors import DataError
from gpu_ssl.runtime import state
from gpu_ssl.runtime.cache import cache_folder, cache_folders, forget_old
from gpu_ssl.runtime.memory_map import release
from gpu_ssl.runtime.progress import Progress

READER = 6
"""Version of what becomes of a file; part of the name that its pixels are kept under."""

KIND = "decoded"
"""Folder of the cache."""


class PixelNotes(Notes):
    """What is stored next to pixels, by the positions of images; see `Decoding`."""

    skipped: tuple[tuple[int, str], ...] = ()
    blank: tuple[int, ...] = ()
    squeezed: tuple[int, ...] = ()
    paged: tuple[int, ...] = ()


PIXELS = state.Kind("gpu-ssl decoded images", 1, PixelNotes, AGAIN)


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
    cached, notes = _kept(file, whole)
    if notes is None:
        cached = cache_folder(KIND) / file
        forget_old(cached.parent)
        notes = _decode(images, shape, how, cached, progress)
    skipped = {images.names[row]: reason for row, reason in notes.skipped}
    pixels = mapped(cached)[: len(images.names) - len(skipped)]
    if not len(pixels):
        raise DataError(_none_readable(images, next(iter(skipped.items()))))
    blank, squeezed, paged = (
        tuple(images.names[row] for row in rows) for rows in (notes.blank, notes.squeezed, notes.paged)
    )
    return Decoding(pixels, how, skipped, blank, squeezed, paged)


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


def _kept(name: str, shape: tuple[int, ...]) -> tuple[Path, PixelNotes | None]:
    """Return the path of pixels of this name, and their notes, if both exist and are intact."""
    for folder in cache_folders(KIND):
        if (notes := kept(folder / name, PIXELS, shape, np.uint8)) is not None:
            return folder / name, notes
    return Path(), None


@dataclass
class _Found:
    """What is found while images are decoded, by their positions."""

    skipped: list[tuple[int, str]] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    squeezed: list[int] = field(default_factory=list)
    paged: list[int] = field(default_factory=list)
    lasting: bool = True

    def add(self, row: int, outcome: Any) -> Iterable[NDArray[np.uint8]]:
        """Take what became of an image, and return its pixels, if it has any."""
        if isinstance(outcome, DataError):
            self.skipped.append((row, printable(str(outcome))))
            self.lasting = self.lasting and not isinstance(outcome, OutOfReachError)
            return ()
        for kind in ("blank", "squeezed", "paged"):
            if getattr(outcome, kind):
                getattr(self, kind).append(row)
        return (outcome.pixels,)


def _decode(
    images: EncodedImages, shape: ImageShape, how: Preparation, cached: Path, progress: Progress
) -> PixelNotes:
    """Write the pixels of images to `cached`, and return notes on them."""
    found = _Found()
    whole = (len(images.names), *shape)
    with (
        written(cached, whole, np.uint8) as (write, sums),
        progress.task("decode", len(images.names)) as advance,
    ):
        row = 0
        for block in decode_all(images.sources(), shape, how):
            for outcome in block:
                for pixels in found.add(row, outcome):
                    write(pixels)
                row += 1
            advance("", len(block))
    notes = PixelNotes(
        name=cached.name,
        sums=tuple(sums),
        skipped=tuple(found.skipped),
        blank=tuple(found.blank),
        squeezed=tuple(found.squeezed),
        paged=tuple(found.paged),
    )
    # Without its notes the file is not taken for whole, and images out of reach are tried again.
    if found.lasting:
        state.save(cached.with_suffix(".json"), PIXELS, notes)
    return notes


def scaled(
    images: NDArray[Any], origin: Path, low: float, high: float, progress: Progress
) -> NDArray[np.uint8]:
    """Return the numbers of an array as uint8, 0 for `low` and 255 for `high`; a memory map of the cache.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width)
        Pixels as stored in the file; uint8 is returned unchanged.
    origin : Path
        The file.
    low, high : float
        See `data.array_range.scale`.
    progress : Progress
        Shows how far it is.
    """
    if images.dtype == np.uint8 and (low, high) == (0, 255):
        return images
    found = origin.stat()
    identity = f"{READER} {origin.absolute()} {version_of(found)} {low} {high} {images.shape}"
    name = f"{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"
    cached, notes = _kept(name, images.shape)
    if notes is None:
        cached = cache_folder(KIND) / name
        forget_old(cached.parent)
        with (
            written(cached, images.shape, np.uint8) as (write, sums),
            progress.task("scale", len(images)) as advance,
        ):
            for start in range(0, len(images), BLOCK):
                block = scale(images[start : start + BLOCK], low, high)
                write(block)
                release(images)
                advance("", len(block))
        state.save(cached.with_suffix(".json"), PIXELS, PixelNotes(name=name, sums=tuple(sums)))
    return mapped(cached)


def _fingerprint(images: EncodedImages, shape: ImageShape, how: Preparation) -> str:
    """Return a hash of what decides the pixels of images, short of reading them."""
    # What is skipped for want of a package is read once that is installed.
    readers = f"{READER} {PIL.__version__} {formats()} {reads_dicom()}"
    origin = f"{readers} {shape} {how} {images.place.absolute()}\0{images.part}"
    digest = hashlib.sha256(origin.encode(errors="surrogateescape"))
    place = os.fspath(images.place)
    for name in images.files:
        try:
            # A path is made for each of many: pathlib takes longer than the system.
            found = os.stat(os.path.join(place, name) if name else place)  # noqa: PTH116, PTH118
            state = version_of(found)
        except (OSError, ValueError):  # the latter of a name with a null character
            state = "missing"
        digest.update(f"{name}\0{state}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
