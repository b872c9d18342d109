"""The file of labels that the page writes: on disk before anybody is told that it is."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from gpu_ssl.data.label_file import LABELS, PATHS, first_of, settle
from gpu_ssl.errors import StorageError, UsageError
from gpu_ssl.runtime.files import atomic_path

NONE_OF_THESE: Final = "unknown"
"""What is written for an image of none of the classes: every command takes it as no label."""

HEADER: Final = ["path", "label"]


@dataclass
class _Rows:
    """The cells of a file, and which columns hold paths and labels."""

    header: list[str]
    rows: list[list[str]]
    path: int
    label: int


class LabelStore:
    """Labels by the name of an image, in a CSV file that other programs may read and write meanwhile.

    Each change is read, merged and written under a lock on the file, beside it and then renamed, with both
    file and folder flushed: whoever is killed loses nothing, and two programs lose nothing of each other's.
    Other columns, and rows of images that were not changed, stay as they are.

    Parameters
    ----------
    path : Path
        The file; it may not be there yet.
    name_of : callable
        Returns the image that a path in the file means, or None. Only asked for paths of earlier writers.

    Raises
    ------
    UsageError
        If what is there is no table that labels can be added to.
    """

    def __init__(self, path: Path, name_of: Callable[[str], str | None] = lambda written: written) -> None:
        self.path, self._name_of = path, name_of
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, str] = {}
        self.labels()

    def labels(self) -> dict[str, str]:
        """Return all labels that the file holds now, `NONE_OF_THESE` among them."""
        with self._lock:
            if (state := _state(self.path)) != self._seen or state is None:
                self._known = self._labels_of(self._read())
                self._seen = state
            return dict(self._known)

    def put(self, changes: Mapping[str, str | None]) -> dict[str, str | None]:
        """Write labels, or take them back (None), and return what was there before.

        Parameters
        ----------
        changes : mapping of str to str or None
            By the name of an image.

        Raises
        ------
        StorageError
            If the file cannot be written; then nothing has changed.
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
            raise UsageError(f"{self.path} is no CSV file: {error}") from error
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
        return _Rows(header, rest, header.index(path), header.index(label))

    def _labels_of(self, table: _Rows) -> dict[str, str]:
        votes = [(self._name(row[table.path]), row[table.label].strip()) for row in table.rows]
        return settle((name, label) for name, label in votes if name is not None and label)[0]

    def _name(self, written: str) -> str | None:
        return self._name_of(written)

    def _change(self, table: _Rows, changes: Mapping[str, str | None]) -> None:
        """Bring rows up to date: those that there are, and new ones at the end."""
        left = dict(changes)
        kept = []
        for row in table.rows:
            name = self._name(row[table.path])
            if name is not None and name in changes:
                row[table.label] = changes[name] or ""
                left.pop(name, None)
                alone = not any(cell for i, cell in enumerate(row) if i not in (table.path, table.label))
                if alone and not row[table.label]:
                    continue
            kept.append(row)
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


def names_of(names: Sequence[str], find: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """Return what finds the image of a path: its own name, or what `find` makes of an earlier writer's."""
    known = names if not isinstance(names, tuple) else frozenset(names)
    found: dict[str, str | None] = {}

    def name_of(written: str) -> str | None:
        if written in known:
            return written
        if written not in found:
            found[written] = find(written)
        return found[written]

    return name_of


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other programs from writing to the file for the length of a block; it is made where it is missing.

    The lock is on the file itself, which a writer replaces: whoever has waited for the lock looks whether the
    file is still the one that it has opened.
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
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return


def _flush_folder(path: Path) -> None:
    """Let the new name of a file reach the disk, too; not every system can."""
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
