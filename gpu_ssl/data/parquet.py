"""Parquet files of encoded images, as Hugging Face's data sets have them, one or many."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_ssl.data.arrays import Positions
from gpu_ssl.data.decoding import Source
from gpu_ssl.data.encoded import SURVEYED, find_images, spread_over
from gpu_ssl.errors import DataError, GpuSslError
from gpu_ssl.runtime.optional import require

if TYPE_CHECKING:
    import pyarrow.parquet

SUFFIX = ".parquet"
ROWS = 256
"""Images that are read at a time."""

BUFFER = 2**20
"""Bytes of a column that are read at a time; without it a whole row group would be."""

GROUPS = 10
"""Row groups that are looked at to choose a shape."""


@dataclass(frozen=True)
class ParquetImages:
    """The images of a Parquet file, or of all those that lie in a folder, in the order of their names.

    One column holds them: encoded bytes, or a struct with a field ``bytes`` of these. A column ``label`` or
    ``labels`` may name their classes: words, or numbers whose names the metadata of Hugging Face's *datasets*
    tell; -1, an empty word and null say nothing.

    Parameters
    ----------
    place : Path
        The file, or the folder.
    """

    place: Path

    @cached_property
    def _shards(self) -> list[tuple[Path, int]]:
        """The files, with the number of their rows."""
        counted = []
        for path in [self.place] if self.place.is_file() else shards_in(self.place):
            with _opened(path) as file:
                counted.append((path, file.metadata.num_rows))
        return counted

    @cached_property
    def names(self) -> Sequence[str]:
        """The numbers of the rows, from 0, through all files."""
        return Positions(sum(rows for _, rows in self._shards))

    @property
    def files(self) -> Sequence[str]:
        """See `EncodedImages`."""
        return ("",) if self.place.is_file() else [path.name for path, _ in self._shards]

    def sources(self) -> Iterator[Source]:
        """See `EncodedImages`; what holds no bytes gives none."""
        for path, _ in self._shards:
            with _opened(path) as file:
                yield from self._rows(file, path, list(range(file.num_row_groups)))

    def survey(self) -> list[Source]:
        """See `EncodedImages`."""
        groups = []
        for path, _ in self._shards:
            with _opened(path) as file:
                groups += [(path, group) for group in range(file.num_row_groups)]
        found: list[Source] = []
        chosen = [groups[i] for i in spread_over(len(groups), GROUPS)]
        for path, group in chosen:
            with _opened(path) as file:
                wanted = set(spread_over(file.metadata.row_group(group).num_rows, SURVEYED // len(chosen)))
                found += [s for i, s in enumerate(self._rows(file, path, [group])) if i in wanted]
        return found

    def _rows(self, file: "pyarrow.parquet.ParquetFile", path: Path, groups: list[int]) -> Iterator[Source]:
        name, is_struct = _image_column(file, path)
        column = f"{name}.bytes" if is_struct else name
        for batch in file.iter_batches(ROWS, row_groups=groups, columns=[column]):
            values = batch.column(0).field("bytes") if is_struct else batch.column(0)
            for value in values:
                yield value.as_py() or b""

    def labels(self) -> dict[str, str]:
        """Return the label of each row that has one.

        Raises
        ------
        DataError
            If the column holds neither numbers nor words.
        """
        labels, start = {}, 0
        for path, rows in self._shards:
            values, names = _label_column(path)
            for i, value in enumerate(values, start):
                if value not in (None, -1, ""):
                    labels[str(i)] = _named(value, names)
            start += rows
        return labels


def shards_in(folder: Path) -> list[Path]:
    """Return the Parquet files right in a folder, by name.

    Raises
    ------
    DataError
        If the folder cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() == SUFFIX]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error
    return sorted(path for path in found if not path.name.startswith(".") and path.is_file())


def holds_parquet(data: Path) -> bool:
    """Whether `data` is a Parquet file, or a folder of some in which there are no image files."""
    if data.is_file():
        return data.suffix.lower() == SUFFIX
    if not data.is_dir() or not shards_in(data):
        return False
    try:
        find_images(data)
    except DataError:
        return True
    return False


def _label_column(path: Path) -> tuple[list[Any], list[str]]:
    """Return the labels of all rows, and the names of the classes that numbers stand for; or nothing."""
    import pyarrow.types as types

    with _opened(path) as file:
        schema = file.schema_arrow
        column = next((name for name in ("label", "labels") if name in schema.names), None)
        if column is None:
            return [], []
        kind = schema.field(column).type
        if types.is_dictionary(kind):
            kind = kind.value_type
        if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
            raise DataError(f"{path}: column {column} must hold numbers or words, not {kind}")
        return file.read([column]).column(0).to_pylist(), _class_names(schema.metadata or {}, column)


@contextmanager
def _opened(path: Path) -> Iterator["pyarrow.parquet.ParquetFile"]:
    require("a Parquet file", "pyarrow")
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER) as file:
            yield file
    except (GpuSslError, MemoryError):
        raise
    except Exception as error:  # Arrow meets hostile bytes, and raises whatever it likes
        raise DataError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from error


def _image_column(file: "pyarrow.parquet.ParquetFile", path: Path) -> tuple[str, bool]:
    """Return the name of the column of images, and whether it is a struct."""
    import pyarrow.types as types

    def is_binary(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def is_encoded(kind: Any) -> bool:
        return bool(types.is_struct(kind)) and any(f.name == "bytes" and is_binary(f.type) for f in kind)

    columns = [(field.name, field.type) for field in file.schema_arrow]
    found = [(name, is_encoded(kind)) for name, kind in columns if is_encoded(kind) or is_binary(kind)]
    if len(found) != 1:
        listed = ", ".join(f"{name} ({kind})" for name, kind in columns)
        raise DataError(f"{path} must have one column of encoded images; it has {listed}")
    return found[0]


def _class_names(metadata: dict[bytes, bytes], column: str) -> list[str]:
    """Return the names of classes that Hugging Face's metadata tell, or none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _named(value: int | str, names: list[str]) -> str:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else str(value)
