"""Encoded images in one or several Parquet files, as in Hugging Face data sets."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_ssl.data.encoded import SURVEYED, spread_over
from gpu_ssl.data.folder import find_images
from gpu_ssl.data.hugging_face import class_of
from gpu_ssl.data.label_columns import GROUPS, NO_COLUMNS, Columns, first_of
from gpu_ssl.data.labels import is_no_label, named
from gpu_ssl.data.opening import Source
from gpu_ssl.data.parquet_columns import groups_of_rows, image_column, is_label, labels_of_rows
from gpu_ssl.data.parquet_file import is_whole, opened
from gpu_ssl.data.positions import Positions
from gpu_ssl.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet

SUFFIX = ".parquet"
ROWS = 256
"""Number of images read at a time."""

ROW_GROUPS = 10
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

    @property
    def part(self) -> str:
        """See `EncodedImages`: the columns."""
        for path, _ in self.shards:
            with opened(path) as file:
                return " ".join(image_column(file.schema_arrow, path, self.columns.path).read)
        return ""

    def _named_by(self, path: Path) -> Iterator[str]:
        with opened(path) as file:
            column = image_column(file.schema_arrow, path, self.columns.path)
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
        chosen = [groups[i] for i in spread_over(len(groups), ROW_GROUPS)]
        for path, group in chosen:
            with opened(path) as file:
                wanted = set(spread_over(file.metadata.row_group(group).num_rows, SURVEYED // len(chosen)))
                found += [s for i, s in enumerate(self._rows(file, path, [group])) if i in wanted]
        return found

    def _rows(self, file: "pyarrow.parquet.ParquetFile", path: Path, groups: list[int]) -> Iterator[Source]:
        column = image_column(file.schema_arrow, path, self.columns.path)
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
            values, names = labels_of_rows(path, self.columns.label)
            numbers = (v for v in values if isinstance(v, float) and not math.isnan(v))
            if wrong := next((v for v in numbers if not v.is_integer()), None):
                raise DataError(f"{path}: expected labels that are whole numbers or words, got {wrong:g}")
            found, none = named(values, partial(class_of, names), start)
            labels |= found
            nothing += none
            start += rows
        return labels, nothing

    def groups(self) -> dict[str, str]:
        """Return the group of each row that has one, from the requested column or one with a usual name.

        Raises
        ------
        DataError
            If the requested column is missing.
        """
        groups: dict[str, str] = {}
        start = 0
        for path, rows in self.shards:
            values = groups_of_rows(path, self.columns)
            groups |= {str(i): str(v).strip() for i, v in enumerate(values, start) if not is_no_label(v)}
            start += rows
        return groups

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
                but = image_column(file.schema_arrow, path, self.columns.path).read if but is None else but
                names = file.schema_arrow.names
                but = [*but, self.columns.group or first_of(GROUPS, names) or ""]
                return [f.name for f in file.schema_arrow if is_label(f.type) and f.name not in but]
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


def _part(values: Any, name: str | None) -> Iterator[Any]:
    """Yield each row's value of a field, or of the column itself for ""; None if `name` is None."""
    if name is None:
        yield from (None for _ in range(len(values)))
    else:
        yield from (value.as_py() for value in (values.field(name) if name else values))
