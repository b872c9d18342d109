"""Images in blocks, from wherever they lie, in memory that does not grow with their number."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.arrays import Positions, read_arrays
from gpu_ssl.data.decoding import WHITE, ImageShape, Source, decode_all, suffixes
from gpu_ssl.data.encoded import find_images
from gpu_ssl.data.parquet import ParquetImages, holds_parquet
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.memory_map import release

BLOCK = 1024
"""Images that are in memory at a time."""

REMEMBERED = 20
"""Unreadable files whose names and reasons are kept."""

Block = tuple[list[str], NDArray[np.uint8]]
"""Names of images, and their pixels (n, channels, height, width)."""


class ImageStream:
    """Blocks of images, to be gone through once.

    Parameters
    ----------
    data : Path or iterable of str
        A folder of images, an image, an ``.npy`` or ``.npz`` file (see `data.arrays`), a ``.parquet`` file
        or a folder of some (see `data.parquet`), or paths of images.
    shape : tuple of int
        Channels, height and width that images are brought to; those of an array must have it.
    white : int
        Value of white in images of 16 bits.

    Attributes
    ----------
    total : int or None
        Number of images, where that is known before.
    n_read, n_skipped : int
        Images read so far, and files that are no readable images.
    skipped : list of str
        The first `REMEMBERED` of these, with the reason.

    Raises
    ------
    UsageError, DataError
        If there is nothing of that kind.
    """

    def __init__(self, data: Path | Iterable[str], shape: ImageShape, white: int = WHITE) -> None:
        self.shape, self.white = shape, white
        self.total: int | None = None
        self.n_read = self.n_skipped = 0
        self.skipped: list[str] = []
        self._blocks = self._open(data)

    def __iter__(self) -> Iterator[Block]:
        for names, images in self._blocks:
            self.n_read += len(names)
            yield names, images

    def _open(self, data: Path | Iterable[str]) -> Iterator[Block]:
        if not isinstance(data, Path):
            return self._files((name, Path(name)) for name in data)
        if holds_parquet(data):
            rows = ParquetImages(data)
            self.total = len(rows.names)
            return self._files(zip(rows.names, rows.sources(), strict=True))
        if data.is_dir():
            found = find_images(data)
            self.total = len(found)
            return self._files((name, data / name) for name in found)
        if not data.is_file():
            raise UsageError(f"{data} does not exist; give a folder of images, a file, or - for stdin")
        if data.suffix.lower() in suffixes():
            self.total = 1
            return self._files([(str(data), data)])
        return self._array(data)

    def _array(self, path: Path) -> Iterator[Block]:
        images, _ = read_arrays(path)
        self.total = len(images)
        if images.shape[1:] != self.shape:
            raise UsageError(f"{path} holds images of shape {images.shape[1:]}; the model takes {self.shape}")
        return self._rows(images)

    def _rows(self, images: NDArray[np.uint8]) -> Iterator[Block]:
        names = Positions(len(images))
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            yield list(names[rows]), np.ascontiguousarray(images[rows])
            release(images)

    def _files(self, files: Iterable[tuple[str, Source]]) -> Iterator[Block]:
        waiting: deque[str] = deque()

        def sources() -> Iterator[Source]:
            for name, source in files:
                waiting.append(name)
                yield source

        decoded = (pair for pairs in decode_all(sources(), self.shape, self.white) for pair in pairs)
        while block := [(waiting.popleft(), pixels) for _, pixels in islice(decoded, BLOCK)]:
            names, images = [], []
            for name, pixels in block:
                if isinstance(pixels, DataError):
                    self._skip(name, pixels)
                else:
                    names.append(name)
                    images.append(pixels)
            if names:
                yield names, np.stack(images)

    def _skip(self, name: str, problem: DataError) -> None:
        self.n_skipped += 1
        if len(self.skipped) < REMEMBERED:
            self.skipped.append(f"{name}: {problem}")
