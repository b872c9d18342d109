"""Images in blocks, from wherever they lie, in memory that does not grow with their number."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.arrays import range_in, read_arrays, scale
from gpu_ssl.data.collection import embeddings_in
from gpu_ssl.data.decoding import Decoded, decode_all
from gpu_ssl.data.embedding_map import wrong_row
from gpu_ssl.data.embeddings import Embeddings
from gpu_ssl.data.encoded import image_files, page_names
from gpu_ssl.data.folder import found_problems
from gpu_ssl.data.label_file import NO_COLUMNS, Columns
from gpu_ssl.data.opening import Page, Source, count_pages, is_image_file
from gpu_ssl.data.parquet import ParquetImages, holds_parquet
from gpu_ssl.data.parquet_embeddings import parquet_embeddings
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.preparation import AS_IS, ImageShape, Preparation
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.memory_map import release

BLOCK = 1024
"""Images that are in memory at a time."""

NO_IMAGES = "{data} holds embeddings, and the model takes images"

REMEMBERED = 20
"""Unreadable files whose names and reasons are kept."""


class Block(NamedTuple):
    """Some images: their names, their pixels (n, channels, height, width), and these in other shapes.

    Of embeddings, `images` are these: (n, 1, 1, width), float32.
    """

    names: list[str]
    images: NDArray[Any]
    others: dict[ImageShape, NDArray[np.uint8]]


class ImageStream:
    """Blocks of images, to be gone through once.

    Parameters
    ----------
    data : Path or iterable of str
        A folder of images, an image, an ``.npy`` or ``.npz`` file (see `data.arrays`), a ``.parquet`` file
        or a folder of some (see `data.parquet`), or paths of images.
    shape : tuple of int
        Channels, height and width that images are brought to; those of an array must have it.
    how : Preparation
        How they become uint8 arrays: what is recorded of the model.
    columns : Columns
        Column of a Parquet file with the images, where the user names it.
    also : sequence of tuple of int
        Other shapes that images are brought to, too; arrays are not.
    embeddings : bool
        Whether embeddings are wanted, (1, 1, width) of shape, and not images.

    Attributes
    ----------
    total : int or None
        Number of images, where that is known before.
    n_read, n_skipped : int
        Images read so far, and files that are no readable images.
    skipped : list of str
        The first `REMEMBERED` of these, with the reason.
    problems : list of Problem
        What is to be told of files that are no images.

    Raises
    ------
    UsageError, DataError
        If there is nothing of that kind.
    """

    def __init__(
        self,
        data: Path | Iterable[str],
        shape: ImageShape,
        how: Preparation = AS_IS,
        columns: Columns = NO_COLUMNS,
        also: Sequence[ImageShape] = (),
        embeddings: bool = False,
    ) -> None:
        self.shape, self.how, self.also = shape, how, also
        self.total: int | None = None
        self.n_read = self.n_skipped = 0
        self.skipped: list[str] = []
        self.problems: list[Problem] = []
        self._blocks = self._embeddings(data, columns) if embeddings else self._open(data, columns)

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            self.n_read += len(block.names)
            yield block

    def _open(self, data: Path | Iterable[str], columns: Columns) -> Iterator[Block]:
        if not isinstance(data, Path):
            return self._files(page for name in data for page in self._pages(name))
        if holds_parquet(data):
            if parquet_embeddings(data, columns) is not None:
                raise UsageError(NO_IMAGES.format(data=data))
            rows = ParquetImages(data, columns)
            self.total = len(rows.names)
            return self._files(zip(rows.names, rows.sources(), strict=True))
        if data.is_dir():
            images, found = image_files(data, self.how.pages == "all")
            self.problems = found_problems(found)
            self.total = len(images.names)
            return self._files(zip(images.names, images.sources(), strict=True))
        if not data.is_file():
            raise UsageError(f"{data} does not exist; give a folder of images, a file, or - for stdin")
        if is_image_file(data):
            pages = list(self._pages(str(data)))
            self.total = len(pages)
            return self._files(pages)
        return self._array(data)

    def _pages(self, name: str) -> Iterator[tuple[str, Source]]:
        path = Path(name)
        count = count_pages(path) if self.how.pages == "all" else 1
        if count == 1:
            yield name, path
        else:
            yield from ((page, Page(path, i)) for i, page in enumerate(page_names(name, count)))

    def _array(self, path: Path) -> Iterator[Block]:
        images = read_arrays(path).pixels
        if isinstance(images, Embeddings):
            raise UsageError(NO_IMAGES.format(data=path))
        self.total = len(images)
        if images.shape[1:] != self.shape:
            raise UsageError(f"{path} holds images of shape {images.shape[1:]}; the model takes {self.shape}")
        if images.dtype == np.uint8:
            return self._rows(images, 0, 255)
        if self.how.low is not None and self.how.high is not None:
            return self._rows(images, self.how.low, self.how.high)
        return self._rows(images, *range_in(images, path))

    def _rows(self, images: NDArray[Any], low: float, high: float) -> Iterator[Block]:
        names = Positions(len(images))
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            yield Block(list(names[rows]), np.ascontiguousarray(scale(images[rows], low, high)), {})
            release(images)

    def _embeddings(self, data: Path | Iterable[str], columns: Columns) -> Iterator[Block]:
        width = self.shape[2]
        wanted = f"the model takes embeddings of {width} numbers"
        rows = embeddings_in(data, columns) if isinstance(data, Path) else None
        if rows is None:
            what = data if isinstance(data, Path) else "stdin"
            raise UsageError(
                f"{what} holds no embeddings, and {wanted}: give an .npy, .npz, .parquet or .safetensors file"
            )
        if rows.shape[1] != width:
            raise UsageError(f"{data} holds embeddings of {rows.shape[1]} numbers; {wanted}")
        self.total = len(rows)
        return self._finite(rows)

    def _finite(self, rows: Embeddings) -> Iterator[Block]:
        start, wrong = 0, DataError(wrong_row(rows.shape[1]))
        for numbers in rows.blocks():
            names = list(rows.names[start : start + len(numbers)])
            start += len(numbers)
            good = np.flatnonzero(np.isfinite(numbers).all(axis=1))
            if len(good) < len(names):
                for i in np.setdiff1d(np.arange(len(names)), good):
                    self._skip(names[i], wrong)
                names, numbers = [names[i] for i in good], numbers[good]
            if names:
                yield Block(names, numbers.reshape(-1, *self.shape), {})

    def _files(self, files: Iterable[tuple[str, Source]]) -> Iterator[Block]:
        waiting: deque[str] = deque()

        def sources() -> Iterator[Source]:
            for name, source in files:
                waiting.append(name)
                yield source

        shapes = (self.shape, *self.also)
        decoded = [
            chain.from_iterable(decode_all(own, shape, self.how))
            for shape, own in zip(shapes, tee(sources(), len(shapes)), strict=True)
        ]
        while block := list(islice(zip(*decoded, strict=True), BLOCK)):
            names, images = [], []
            for outcomes in block:
                name = waiting.popleft()
                problem = next((outcome for outcome in outcomes if isinstance(outcome, DataError)), None)
                if problem is not None:
                    self._skip(name, problem)
                else:
                    names.append(name)
                    images.append([outcome.pixels for outcome in outcomes if isinstance(outcome, Decoded)])
            if names:
                first, *others = map(np.stack, zip(*images, strict=True))
                yield Block(names, first, dict(zip(self.also, others, strict=True)))

    def _skip(self, name: str, problem: DataError) -> None:
        self.n_skipped += 1
        if len(self.skipped) < REMEMBERED:
            self.skipped.append(f"{name}: {problem}")
