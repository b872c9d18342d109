"""Encoded images in one or several Parquet files, as in Hugging Face data sets."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_ssl.data.encoded import SURVEYED, spread_over
from gpu_ssl.data.folder import find_images
from gpu_ssl.data.hugging_face import class_names, class_of
from gpu_ssl.data.label_columns import LABELS, NO_COLUMNS, PATHS, Columns, first_of
from gpu_ssl.data.labels import named
from gpu_ssl.data.opening import Source
from gpu_ssl.data.parquet_file import is_text, is_whole, opened
from gpu_ssl.data.positions import Positions
from gpu_ssl.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet

SUFFIX = ".parquet"
ROWS = 256
"""Number of images read at a time."""

GROUPS = 10
"""Number of row groups sampled to choose a shape."""


@dataclass(frozen=True)
class ParquetImages:
    """The images of a Parquet file, or of all Parquet files in a folder, ordered by file name.

    One column holds the images: encoded bytes, a struct with a field ``bytes`` or ``path``, or paths as text
    in a column with a usual name. Relative paths start from the folder of the file. Another column may hold
    labels: words, or numbers with class names in the metadata of Hugging Face's *datasets*.

    Parameters
    ----------
    place : Path
        The file or the folder.
    columns : Columns
        The columns of images and labels, if given by the user.
    """

    place: Path
    columns: Columns = NO_COLUMNS

    @cached_property
    def shards(self) -> list[tuple[Path, int]]:
        """The files and their numbers of rows."""
        counted = []
        for path in [self.place] if self.place.is_file() else shards_in(self.place):
            with opened(path) as file:
                counted.append((path, file.metadata.num_rows))
        return counted

    @cached_property
    def names(self) -> Sequence[str]:
        """Row numbers, counted from 0 across all files."""
        return Positions(sum(rows for _, rows in self.shards))

    @property
    def files(self) -> Sequence[str]:
        """See `EncodedImages`; includes the files that rows refer to by path."""
        shards = [""] if self.place.is_file() else [path.name for path, _ in self.shards]
        return [*shards, *(name for path, _ in self.shards for name in self._named_by(path))]

    def _named_by(self, path: Path) -> Iterator[str]:
        with opened(path) as file:
            column = _image_column(file.schema_arrow, path, self.columns.path)
            if column.path is None:
                return
            name = column.read[-1]  # of the fields of a struct, path sorts last
            for batch in file.iter_batches(ROWS, columns=[name]):
                yield from (str(path.parent / each) for each in _part(batch.column(0), column.path) if each)

    def sources(self) -> Iterator[Source]:
        """See `EncodedImages`; a row with neither bytes nor a path yields empty bytes."""
        for path, rows in self.shards:
            with opened(path) as file:
                found = self._rows(file, path, list(range(file.num_row_groups)))
                # In a damaged file, columns may have fewer rows than the metadata claim.
                for _ in range(rows):
                    yield next(found, b"")

    def survey(self) -> list[Source]:
        """See `EncodedImages`."""
        groups = []
        for path, _ in self.shards:
            with opened(path) as file:
                groups += [(path, group) for group in range(file.num_row_groups)]
        found: list[Source] = []
        chosen = [groups[i] for i in spread_over(len(groups), GROUPS)]
        for path, group in chosen:
            with opened(path) as file:
                wanted = set(spread_over(file.metadata.row_group(group).num_rows, SURVEYED // len(chosen)))
                found += [s for i, s in enumerate(self._rows(file, path, [group])) if i in wanted]
        return found

    def _rows(self, file: "pyarrow.parquet.ParquetFile", path: Path, groups: list[int]) -> Iterator[Source]:
        column = _image_column(file.schema_arrow, path, self.columns.path)
        for batch in file.iter_batches(ROWS, row_groups=groups, columns=column.read):
            values = batch.column(0)
            encoded = _part(values, column.bytes)
            paths = _part(values, column.path)
            for content, name in zip(encoded, paths, strict=True):
                yield content or (path.parent / name if name else b"")

    def labels(self) -> tuple[dict[str, str], Counter[str]]:
        """Return the label of each labelled row, and how often each word was read as a missing label.

        Raises
        ------
        DataError
            If the column holds neither whole numbers nor words, or the requested column is missing.
        """
        labels: dict[str, str] = {}
        nothing: Counter[str] = Counter()
        start = 0
        for path, rows in self.shards:
            values, names = _label_column(path, self.columns.label)
            numbers = (v for v in values if isinstance(v, float) and not math.isnan(v))
            if wrong := next((v for v in numbers if not v.is_integer()), None):
                raise DataError(f"{path}: expected labels that are whole numbers or words, got {wrong:g}")
            found, none = named(values, partial(class_of, names), start)
            labels |= found
            nothing += none
            start += rows
        return labels, nothing

    def other_numbers(self, names: Collection[str]) -> str | None:
        """Return which of the columns `names` holds whole numbers that are not the positions of the rows."""
        for name in names:
            numbers: list[int | None] = []
            for path, _ in self.shards:
                with opened(path) as file:
                    schema = file.schema_arrow
                    if name in schema.names and is_whole(schema.field(name).type):
                        numbers += file.read([name]).column(0).to_pylist()
            if numbers and numbers != list(range(len(self.names))):
                return name
        return None

    def could_be_labels(self, but: Collection[str] | None = None) -> list[str]:
        """Return the columns of text or numbers in the first file, without `but` (default: image columns)."""
        for path, _ in self.shards:
            with opened(path) as file:
                but = _image_column(file.schema_arrow, path, self.columns.path).read if but is None else but
                return [f.name for f in file.schema_arrow if _is_label(f.type) and f.name not in but]
        return []


def shards_in(folder: Path) -> list[Path]:
    """Return the Parquet files directly in a folder, sorted by name.

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
    """Whether `data` is a Parquet file, or a folder with Parquet files and no image files."""
    if data.is_file():
        return data.suffix.lower() == SUFFIX or _begins_as_parquet(data)
    if not data.is_dir() or not shards_in(data):
        return False
    try:
        find_images(data)
    except DataError:
        return True
    return False


def _begins_as_parquet(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(4) == b"PAR1"
    return False


def _label_column(path: Path, requested: str | None) -> tuple[list[Any], list[str]]:
    """Return the labels of all rows and the class names of numeric labels; empty lists without labels."""
    with opened(path) as file:
        schema = file.schema_arrow
        column = requested or first_of(LABELS, schema.names)
        if column is None:
            return [], []
        if column not in schema.names:
            raise DataError(f"{path} has no column {column!r}; its columns are {', '.join(schema.names)}")
        kind = schema.field(column).type
        if not _is_label(kind):
            raise DataError(f"{path}: expected whole numbers or words in column {column}, got {kind}")
        return file.read([column]).column(0).to_pylist(), class_names(schema.metadata or {}, column)


def _is_label(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
        or is_text(kind)
    )


def _is_binary(kind: Any) -> bool:
    return str(kind) in ("binary", "large_binary", "binary_view")


class _ImageColumn(NamedTuple):
    """The columns to read for images, and the struct fields of bytes and paths; "" is the column itself."""

    read: list[str]
    bytes: str | None
    path: str | None


def encoded_columns(schema: "pyarrow.Schema") -> dict[str, _ImageColumn]:
    """Return the columns that hold encoded images, or structs with their bytes or paths."""
    import pyarrow.types as types

    found = {}
    for name, kind in ((field.name, field.type) for field in schema):
        if _is_binary(kind):
            found[name] = _ImageColumn([name], "", None)
        elif types.is_struct(kind):
            parts = {f.name for f in kind if (f.name == "bytes" and _is_binary(f.type)) or f.name == "path"}
            if parts:
                found[name] = _ImageColumn(
                    [f"{name}.{part}" for part in sorted(parts)],
                    "bytes" if "bytes" in parts else None,
                    "path" if "path" in parts else None,
                )
    return found


def _image_column(schema: "pyarrow.Schema", path: Path, requested: str | None) -> _ImageColumn:
    kinds = {field.name: field.type for field in schema}
    found = encoded_columns(schema)
    text = requested if requested in kinds and is_text(kinds[requested]) else first_of(PATHS, list(kinds))
    if requested in found:
        return found[requested]
    if len(found) == 1 and requested is None:
        return next(iter(found.values()))
    if text is not None and is_text(kinds[text]) and (not found or requested):
        return _ImageColumn([text], None, "")
    listed = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    raise DataError(
        f"{path}: expected one column of encoded images or of their paths, got {listed}; name it with "
        "`path_column`"
    )


def _part(values: Any, name: str | None) -> Iterator[Any]:
    """Yield each row's value of a field, or of the column itself for ""; None if `name` is None."""
    if name is None:
        yield from (None for _ in range(len(values)))
    else:
        yield from (value.as_py() for value in (values.field(name) if name else values))
