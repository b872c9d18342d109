"""Embeddings as float32 in a memory map: the file itself, or what the cache holds of it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import Embeddings
from gpu_ssl.data.pixel_cache import Decoding, reserve
from gpu_ssl.data.preparation import AS_IS
from gpu_ssl.data.problems import Problem, counted, examples
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.cache import cache_folder, cache_folders, forget_old, mark_used
from gpu_ssl.runtime.files import atomic_path, write_text
from gpu_ssl.runtime.progress import Progress

READER = 1
"""Version of what becomes of a file; part of the name that its numbers are kept under."""

KIND = "embeddings"
"""Folder of the cache."""

APART = 100.0
"""Times the smallest standard deviation of a column that another may have without being told of."""


@dataclass(frozen=True)
class _Notes:
    """What was found in embeddings; it is kept in the cache.

    Parameters
    ----------
    skipped : list of int
        Rows that hold a number that is not finite, or too few numbers.
    constant : list of int
        Columns whose numbers are all the same.
    narrowest, widest : tuple of (int, float)
        The columns of the smallest and the largest standard deviation, but for constant ones, and these.
    copied : bool
        Whether the rows are in the cache, without those that are skipped.
    """

    skipped: list[int]
    constant: list[int]
    narrowest: tuple[int, float]
    widest: tuple[int, float]
    copied: bool


def mapped(rows: Embeddings, progress: Progress) -> Decoding:
    """Return embeddings as a memory map (n, 1, 1, width), float32, and what was found in them.

    A file that holds just that is taken as it lies. Of others, and without the rows that are not finite, the
    cache gets a copy.

    Parameters
    ----------
    rows : Embeddings
        What to read.
    progress : Progress
        Shows how far it is.

    Raises
    ------
    DataError
        If no row is finite.
    """
    name = _fingerprint(rows)
    found = (_kept(folder / name, rows) for folder in cache_folders(KIND))
    kept = next((each for each in found if each is not None), None)
    if kept is None:
        folder = cache_folder(KIND)
        forget_old(folder)
        notes = _looked_through(rows, folder / name, progress)
        write_text((folder / name).with_suffix(".json"), json.dumps(asdict(notes)))
        kept = _kept(folder / name, rows)
        assert kept is not None
    array, notes = kept
    width = rows.shape[1]
    if not len(array):
        raise DataError(f"{rows.place} holds no row of {width} finite numbers")
    skipped = {rows.names[row]: wrong_row(width) for row in notes.skipped}
    return Decoding(array.reshape(-1, 1, 1, width), AS_IS, skipped, problems=tuple(_problems(notes)))


def wrong_row(width: int) -> str:
    """Say why a row is skipped."""
    return f"it does not hold {width} finite numbers"


def _looked_through(rows: Embeddings, copy: Path, progress: Progress) -> _Notes:
    """Survey embeddings, and write those that cannot be taken as they lie to `copy`."""
    if rows.whole is not None:
        survey = _Survey(rows.shape[1])
        with progress.task("look", len(rows)) as advance:
            for block in rows.blocks():
                survey.add(block)
                advance("", len(block))
        if not survey.skipped:
            return survey.notes(copied=False)
    survey = _Survey(rows.shape[1])
    with atomic_path(copy) as temporary:
        begin = np.lib.format.open_memmap(temporary, "w+", np.float32, rows.shape).offset
        reserve(temporary)
        # Written, not mapped: what is written to a map counts as memory of the process.
        with temporary.open("r+b") as file, progress.task("read", len(rows)) as advance:
            file.seek(begin)
            for block in rows.blocks():
                file.write(np.ascontiguousarray(survey.add(block)).data)
                advance("", len(block))
    return survey.notes(copied=True)


class _Survey:
    """Goes through blocks of rows, and remembers which are not finite, and how columns are spread."""

    def __init__(self, width: int) -> None:
        self.skipped: list[int] = []
        self._seen = self._n = 0
        self._first = self._sums = self._squares = np.zeros(width)
        self._low, self._high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)

    def add(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next rows, and return those that are finite."""
        good = np.isfinite(block).all(axis=1)
        self.skipped += (self._seen + np.flatnonzero(~good)).tolist()
        self._seen += len(block)
        rows = block if good.all() else block[good]
        if len(rows):
            if not self._n:
                self._first = rows[0].astype(np.float64)
            self._n += len(rows)
            # From the first row: sums of squares of numbers far from 0 would hide how little they differ.
            apart = rows - self._first
            self._sums = self._sums + apart.sum(axis=0)
            self._squares = self._squares + np.einsum("ij,ij->j", apart, apart)
            self._low = np.minimum(self._low, rows.min(axis=0))
            self._high = np.maximum(self._high, rows.max(axis=0))
        return rows

    def notes(self, *, copied: bool) -> _Notes:
        """Return what was found."""
        n = max(self._n, 1)
        spread = np.sqrt(np.maximum(self._squares / n - (self._sums / n) ** 2, 0))
        constant = np.flatnonzero(self._low >= self._high)
        varied = np.setdiff1d(np.arange(len(spread)), constant)
        ends = [varied[find(spread[varied])] for find in (np.argmin, np.argmax)] if len(varied) else [0, 0]
        narrowest, widest = ((int(column), float(spread[column])) for column in ends)
        return _Notes(self.skipped, constant.tolist(), narrowest, widest, copied)


def _problems(notes: _Notes) -> Iterator[Problem]:
    if columns := list(map(str, notes.constant)):
        message = (
            f"{counted(len(columns), 'column holds', 'columns hold')} the same number in all rows, and "
            f"{'tells' if len(columns) == 1 else 'tell'} nothing: {examples(columns)}"
        )
        yield Problem("constant-columns", len(columns), tuple(columns), message)
    (narrow, least), (wide, most) = notes.narrowest, notes.widest
    if most > APART * least:
        message = (
            f"columns are of different scales (standard deviation {most:.3g} of column {wide}, {least:.3g} "
            f"of column {narrow}): the latter hardly counts; if it should, standardize the columns"
        )
        yield Problem("scales", 2, (str(wide), str(narrow)), message)


def _kept(copy: Path, rows: Embeddings) -> tuple[NDArray[np.float32], _Notes] | None:
    """Return the numbers, and what was found in them before, if that is in the cache and whole."""
    path = copy.with_suffix(".json")
    try:
        notes = _Notes(**json.loads(path.read_text(encoding="utf-8")))
        # Copy on write: torch shares the memory of arrays that it may write to, and writes nothing.
        array = np.load(copy, mmap_mode="c") if notes.copied else rows.whole
    except (OSError, EOFError, TypeError, ValueError):  # lost, or damaged
        return None
    if array is None or array.shape != rows.shape or array.dtype != np.float32:
        return None
    mark_used(path, *([copy] if notes.copied else []))
    return array[: len(rows) - len(notes.skipped)], notes


def _fingerprint(rows: Embeddings) -> str:
    """Return the name of a file, made of what decides the numbers, short of reading them."""
    identity = f"{READER} {rows.place.absolute()} {rows.part} {rows.shape}"
    for path in rows.files:
        state = path.stat()
        identity += f" {path.name} {state.st_size} {state.st_mtime_ns}"
    return f"{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"
