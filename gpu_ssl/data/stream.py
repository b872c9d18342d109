"""Reading images or embeddings in blocks, with memory independent of their number."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.array_range import holds_levels, range_for_levels, scale
from gpu_ssl.data.arrays import read_arrays
from gpu_ssl.data.collection import embeddings_in
from gpu_ssl.data.decoding import Decoded, decode_all
from gpu_ssl.data.embedding_map import wrong_row
from gpu_ssl.data.embeddings import Embeddings
from gpu_ssl.data.encoded import image_files, page_names
from gpu_ssl.data.folder import found_problems
from gpu_ssl.data.label_columns import NO_COLUMNS, Columns
from gpu_ssl.data.opening import Page, Source, count_pages, is_image_file
from gpu_ssl.data.parquet import ParquetImages, holds_parquet
from gpu_ssl.data.parquet_embeddings import parquet_embeddings
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.preparation import AS_IS, ImageShape, Preparation
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.memory_map import release

BLOCK = 1024
"""Number of images in memory at a time."""

NO_IMAGES = "{data} holds embeddings, but the model expects images"

REMEMBERED = 20
"""Maximum number of unreadable files whose names and reasons are recorded."""


class Block(NamedTuple):
    """A block of images: names, pixels of shape (n, channels, height, width), and pixels at other shapes.

    For embeddings, `images` has shape (n, 1, 1, width) and dtype float32.
    """

    names: list[str]
    images: NDArray[Any]
    others: dict[ImageShape, NDArray[np.uint8]]


class ImageStream:
    """Iterator over blocks of images; can be consumed once.

    Parameters
    ----------
    data : Path or iterable of str
        A folder of images, an image, an ``.npy`` or ``.npz`` file (see `data.arrays`), one or a folder of
        ``.parquet`` files (see `data.parquet`), or paths of images.
    shape : tuple of int
        Channels, height and width that images are resized to; arrays must have this shape.
    how : Preparation
        Conversion to uint8 arrays, as saved with the model.
    columns : Columns
        Image column of a Parquet file, if given by the user.
    also : sequence of tuple of int
        Further shapes to resize images to; not supported for arrays.
    embeddings : bool
        Whether to read embeddings, with `shape` (1, 1, width), instead of images.
    value_range : tuple of float, optional
        Values of black and white in arrays that are not uint8; by default those of `how`, or of the array.

    Attributes
    ----------
    total : int or None
        Number of images, if known in advance.
    n_read, n_skipped : int
        Number of images read so far, and of unreadable files.
    skipped : list of str
        The first `REMEMBERED` unreadable files, with the reason.
    problems : list of Problem
        Problems with files that are not images, and arrays that are not used.

    Raises
    ------
    UsageError, DataError
        If there are no images, or no embeddings if they are expected.
    """

    def __init__(
        self,
        data: Path | Iterable[str],
        shape: ImageShape,
        how: Preparation = AS_IS,
        columns: Columns = NO_COLUMNS,
        also: Sequence[ImageShape] = (),
        embeddings: bool = False,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self.shape, self.how, self.also = shape, how, also
        self._value_range = value_range or (how.low, how.high)
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
        found = read_arrays(path, labels_too=False)
        images, self.problems = found.pixels, found.problems
        if isinstance(images, Embeddings):
            raise UsageError(NO_IMAGES.format(data=path))
        self.total = len(images)
        if images.shape[1:] != self.shape:
            raise UsageError(
                f"{path}: the model expects images of shape {self.shape}, got {tuple(images.shape[1:])}"
            )
        low, high = self._value_range
        if low is None or high is None:
            low, high = range_for_levels(images, path)
        elif holds_levels(images, low, high):
            low, high = 0, 255
        return self._rows(images, low, high)

    def _rows(self, images: NDArray[Any], low: float, high: float) -> Iterator[Block]:
        names = Positions(len(images))
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            yield Block(list(names[rows]), np.ascontiguousarray(scale(images[rows], low, high)), {})
            release(images)

    def _embeddings(self, data: Path | Iterable[str], columns: Columns) -> Iterator[Block]:
        width = self.shape[2]
        expected = f"the model expects embeddings of width {width}"
        rows, self.problems = embeddings_in(data, columns) if isinstance(data, Path) else (None, [])
        if rows is None:
            what = data if isinstance(data, Path) else "stdin"
            raise UsageError(
                f"{what} holds no embeddings, but {expected}: give an .npy, .npz, .parquet or .safetensors "
                "file"
            )
        if rows.shape[1] != width:
            raise UsageError(f"{data} holds embeddings of width {rows.shape[1]}, but {expected}")
        self.total = len(rows)
        return self._finite(rows)

    def _finite(self, rows: Embeddings) -> Iterator[Block]:
        start, problem = 0, DataError(wrong_row(rows.shape[1]))
        for numbers in rows.blocks():
            names = list(rows.names[start : start + len(numbers)])
            start += len(numbers)
            finite = np.flatnonzero(np.isfinite(numbers).all(axis=1))
            if len(finite) < len(names):
                for i in np.setdiff1d(np.arange(len(names)), finite):
                    self._skip(names[i], problem)
                names, numbers = [names[i] for i in finite], numbers[finite]
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
            chain.from_iterable(decode_all(copy, shape, self.how))
            for shape, copy in zip(shapes, tee(sources(), len(shapes)), strict=True)
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
