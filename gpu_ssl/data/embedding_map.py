"""Precomputed embeddings as a float32 memory map of the file itself or of a copy in the cache."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import Embeddings
from gpu_ssl.data.kept_arrays import AGAIN, Notes, kept, version_of, written
from gpu_ssl.data.kept_arrays import mapped as mapped_file
from gpu_ssl.data.pixel_cache import Decoding
from gpu_ssl.data.preparation import AS_IS
from gpu_ssl.data.problems import Problem, counted, examples
from gpu_ssl.errors import DataError
from gpu_ssl.runtime import state
from gpu_ssl.runtime.cache import cache_folder, cache_folders, forget_old
from gpu_ssl.runtime.progress import Progress

READER = 2
"""Version of the reading code; part of the name of a cached copy."""

KIND = "embeddings"
"""Folder of the cache."""

APART = 100.0
"""Ratio of the largest to the smallest column standard deviation above which a warning is given."""


class EmbeddingNotes(Notes):
    """Statistics of embeddings, saved in the cache.

    Attributes
    ----------
    skipped : list of int
        Rows with a value that is not finite, or of the wrong length.
    constant : list of int
        Columns in which all values are equal.
    narrowest, widest : tuple of (int, float)
        The columns with the smallest and the largest standard deviation (constant columns excluded), and
        these standard deviations.
    copied : bool
        Whether the cache holds a copy of the rows, without the skipped ones; then there are checksums.
    """

    skipped: tuple[int, ...]
    constant: tuple[int, ...]
    narrowest: tuple[int, float]
    widest: tuple[int, float]
    copied: bool


EMBEDDINGS = state.Kind("gpu-ssl embeddings", 1, EmbeddingNotes, AGAIN)


def mapped(rows: Embeddings, progress: Progress) -> Decoding:
    """Return embeddings as a memory map (n, 1, 1, width), float32, with the problems found in them.

    A file that stores finite float32 rows contiguously is mapped directly. Otherwise the cache gets a copy
    without the rows that are not finite.

    Parameters
    ----------
    rows : Embeddings
        The embeddings.
    progress : Progress
        Shows the progress of reading.

    Raises
    ------
    DataError
        If no row is finite.
    """
    width = rows.shape[1]
    none = f"{rows.place} holds no row of {width} finite numbers"
    if not len(rows):
        raise DataError(none)
    name = _fingerprint(rows)
    found = ((folder / name, _kept(folder / name, rows)) for folder in cache_folders(KIND))
    copy, notes = next((each for each in found if each[1] is not None), (Path(), None))
    if notes is None:
        copy = cache_folder(KIND) / name
        forget_old(copy.parent)
        notes = _looked_through(rows, copy, progress)
        state.save(copy.with_suffix(".json"), EMBEDDINGS, notes)
    whole = mapped_file(copy) if notes.copied else rows.whole
    assert whole is not None
    array = whole[: len(rows) - len(notes.skipped)]
    if not len(array):
        raise DataError(none)
    skipped = {rows.names[row]: wrong_row(width) for row in notes.skipped}
    return Decoding(array.reshape(-1, 1, 1, width), AS_IS, skipped, problems=tuple(_problems(rows, notes)))


def wrong_row(width: int) -> str:
    """Return the reason for skipping a row."""
    return f"expected {width} finite numbers"


def _looked_through(rows: Embeddings, copy: Path, progress: Progress) -> EmbeddingNotes:
    """Compute the statistics of embeddings, and write those that cannot be mapped directly to `copy`."""
    if rows.whole is not None:
        survey = _Survey(rows.shape[1])
        with progress.task("look", len(rows)) as advance:
            for block in rows.blocks():
                survey.add(block)
                advance("", len(block))
        if not survey.skipped:
            return survey.notes(copy.name, ())
    survey = _Survey(rows.shape[1])
    with (
        written(copy, rows.shape, np.float32) as (write, sums),
        progress.task("read", len(rows)) as advance,
    ):
        for block in rows.blocks():
            write(survey.add(block))
            advance("", len(block))
    return survey.notes(copy.name, tuple(sums))


class _Survey:
    """Running statistics over blocks of rows: which are not finite, and how columns vary."""

    def __init__(self, width: int) -> None:
        self.skipped: list[int] = []
        self._seen = self._n = 0
        self._first = self._sums = self._squares = np.zeros(width)
        self._low, self._high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)

    def add(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add a block of rows, and return the finite ones."""
        good = np.isfinite(block).all(axis=1)
        self.skipped += (self._seen + np.flatnonzero(~good)).tolist()
        self._seen += len(block)
        rows = block if good.all() else block[good]
        if len(rows):
            if not self._n:
                self._first = rows[0].astype(np.float64)
            self._n += len(rows)
            # Relative to the first row: rounding of large squares would hide small differences.
            apart = rows - self._first
            self._sums = self._sums + apart.sum(axis=0)
            self._squares = self._squares + np.einsum("ij,ij->j", apart, apart)
            self._low = np.minimum(self._low, rows.min(axis=0))
            self._high = np.maximum(self._high, rows.max(axis=0))
        return rows

    def notes(self, name: str, sums: tuple[int, ...]) -> EmbeddingNotes:
        """Return the statistics of all rows added so far; `sums` are the checksums of a copy, if any."""
        n = max(self._n, 1)
        spread = np.sqrt(np.maximum(self._squares / n - (self._sums / n) ** 2, 0))
        constant = np.flatnonzero(self._low >= self._high)
        varied = np.setdiff1d(np.arange(len(spread)), constant)
        ends = [varied[find(spread[varied])] for find in (np.argmin, np.argmax)] if len(varied) else [0, 0]
        narrowest, widest = ((int(column), float(spread[column])) for column in ends)
        return EmbeddingNotes(
            name=name,
            sums=sums,
            skipped=tuple(self.skipped),
            constant=tuple(constant.tolist()),
            narrowest=narrowest,
            widest=widest,
            copied=bool(sums),
        )


def _problems(rows: Embeddings, notes: EmbeddingNotes) -> Iterator[Problem]:
    if reason := rows.unused_names:
        message = f"{reason}; the rows are named by their positions, from 0"
        yield Problem("unused-names", len(rows.given_names), (), message)
    if columns := list(map(str, notes.constant)):
        message = (
            f"{counted(len(columns), 'column is', 'columns are')} constant and carry no information: "
            f"{examples(columns)}"
        )
        yield Problem("constant-columns", len(columns), tuple(columns), message)
    (narrow, least), (wide, most) = notes.narrowest, notes.widest
    if most > APART * least:
        message = (
            f"columns have different scales (standard deviation {most:.3g} in column {wide}, {least:.3g} in "
            f"column {narrow}): the latter has little influence; standardize the columns if it should have"
        )
        yield Problem("scales", 2, (str(wide), str(narrow)), message)


def _kept(copy: Path, rows: Embeddings) -> EmbeddingNotes | None:
    """Return the cached statistics; None if they, or the copy, are not in the cache or damaged."""
    notes = kept(copy, EMBEDDINGS, rows.shape, np.float32)
    if notes is not None and not notes.copied and rows.whole is None:
        return None
    return notes


def _fingerprint(rows: Embeddings) -> str:
    """Return the name of the cached copy: a hash of path, part, shape and the state of the files."""
    identity = f"{READER} {rows.place.absolute()} {rows.part} {rows.shape}"
    for path in rows.files:
        identity += f" {path.name} {version_of(path.stat())}"
    return f"{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"
