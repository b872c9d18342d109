"""The label file of the page: written to disk before a label is confirmed."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from gpu_ssl.data.label_columns import LABELS, PATHS, first_of
from gpu_ssl.data.label_file import column_of_names, settle
from gpu_ssl.data.label_tables import text_of
from gpu_ssl.data.labels import clean, is_no_label, unify_numbers
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.runtime.files import atomic_path

NONE_OF_THESE: Final = "unknown"
"""Written for an image of none of the classes; every command takes it as unlabelled."""

HEADER: Final = ["path", "label"]


@dataclass
class _Rows:
    """The cells of a file, and which columns hold paths and labels."""

    header: list[str]
    rows: list[list[str]]
    path: int
    label: int


class LabelStore:
    """Labels by image name, in a CSV file that other programs may read and write at the same time.

    Each change is merged and written under a lock on the file, to a temporary file that is renamed, with file
    and folder flushed: a kill loses nothing, and concurrent programs do not lose each other's labels. Other
    columns, and rows of unchanged images, are preserved.

    Parameters
    ----------
    path : Path
        The file, which need not exist.
    names_of : callable
        Returns the images that a path in the file stands for: none, one, or all pages of a file. Only called
        for paths in an existing file.

    Raises
    ------
    UsageError
        If the existing file is not a table to which labels can be added.
    """

    def __init__(
        self, path: Path, names_of: Callable[[str], Sequence[str]] = lambda written: (written,)
    ) -> None:
        self.path, self._names_of = path, names_of
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, str] = {}
        self.labels()

    def labels(self) -> dict[str, str]:
        """Return all labels in the file, including `NONE_OF_THESE`."""
        with self._lock:
            if (state := _state(self.path)) != self._seen or state is None:
                self._known = self._labels_of(self._read())
                self._seen = state
            return dict(self._known)

    def put(self, changes: Mapping[str, str | None]) -> dict[str, str | None]:
        """Write labels, or remove them (None), and return the previous ones.

        Parameters
        ----------
        changes : mapping of str to str or None
            Labels by image name.

        Raises
        ------
        StorageError
            If the file cannot be written; it is unchanged.
        """
        with self._lock, _alone(self.path):
            table = self._read()
            before = self._labels_of(table)
            self._change(table, changes)
            self._write(table)
            self._known, self._seen = self._labels_of(table), _state(self.path)
            return {name: before.get(name) for name in changes}

    def _read(self) -> _Rows:
        try:
            text = self.path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if any(row)]
        except FileNotFoundError:
            rows = []
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error
        except csv.Error as error:
            raise UsageError(f"{self.path} is not a CSV file: {error}") from error
        if not rows:
            return _Rows(list(HEADER), [], 0, 1)
        header, *rest = rows
        path, label = first_of(PATHS, header), first_of(LABELS, header)
        if path is None or label is None or path == label:
            raise UsageError(
                f"{self.path} cannot take labels: it must be comma-separated, with the columns path and "
                "label in its first line; name another file"
            )
        rest = [row + [""] * (len(header) - len(row)) for row in rest]
        cells = {name: [row[i] for row in rest] for i, name in enumerate(header) if name != label}
        path = column_of_names(path, cells, lambda name: bool(self._names_of(name)))
        return _Rows(header, rest, header.index(path), header.index(label))

    def _labels_of(self, table: _Rows) -> dict[str, str]:
        labels = [clean(text_of(row[table.label])) for row in table.rows]
        numbers = unify_numbers(filter(None, labels))
        votes = zip(table.rows, labels, strict=True)
        return settle(
            (name, numbers.get(label, label))
            for row, label in votes
            if label == NONE_OF_THESE or not is_no_label(label)
            for name in self._names_of(row[table.path])
        )[0]

    def _change(self, table: _Rows, changes: Mapping[str, str | None]) -> None:
        """Update existing rows, and append new ones."""
        left = dict(changes)
        kept = []
        for row in table.rows:
            names = self._names_of(row[table.path])
            if changes.keys().isdisjoint(names):
                kept.append(row)
                continue
            for name in names:  # The pages of a file get rows of their own once one of them changes.
                own = list(row)
                own[table.path] = row[table.path] if len(names) == 1 else name
                own[table.label] = (changes[name] or "") if name in changes else row[table.label]
                left.pop(name, None)
                # A row without a label is kept for its other cells.
                if any(cell for i, cell in enumerate(own) if i != table.path):
                    kept.append(own)
        for name, label in left.items():
            if label:
                row = [""] * len(table.header)
                row[table.path], row[table.label] = name, label
                kept.append(row)
        table.rows = kept

    def _write(self, table: _Rows) -> None:
        with (
            atomic_path(self.path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(table.header)
            writer.writerows(table.rows)
            file.flush()
        _flush_folder(self.path)


def names_of(
    names: Sequence[str], find: Callable[[str], tuple[str, ...]]
) -> Callable[[str], tuple[str, ...]]:
    """Return a function from paths to images: by name, or by `find`, of which only `names` count."""
    known = names if not isinstance(names, tuple) else frozenset(names)
    found: dict[str, tuple[str, ...]] = {}

    def names_of_path(written: str) -> tuple[str, ...]:
        if written in known:
            return (written,)
        if written not in found:
            found[written] = tuple(name for name in find(written) if name in known)
        return found[written]

    return names_of_path


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what identifies a version of a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock a file against other programs during the block; it is created if missing.

    The lock is on the file itself, which a writer replaces: after waiting for the lock, check that the file
    is still the opened one.
    """
    try:
        import fcntl
    except ImportError:  # no Unix
        yield
        return
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        with file:
            with suppress(OSError):  # a network file system may have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return


def _flush_folder(path: Path) -> None:
    """Flush the folder of a file to disk, where the system supports it."""
    try:
        folder = os.open(Path(os.path.realpath(path)).parent, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(folder)
    except OSError:
        return
    finally:
        os.close(folder)
