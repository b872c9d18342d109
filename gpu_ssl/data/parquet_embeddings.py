"""Precomputed embeddings in a list column of Parquet files, with names and labels in other columns."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import BLOCK, LEAST_WIDTH, Embeddings, to_float32
from gpu_ssl.data.label_columns import PATHS, Columns, first_of
from gpu_ssl.data.parquet import ParquetImages
from gpu_ssl.data.parquet_columns import encoded_columns
from gpu_ssl.data.parquet_file import is_text, is_whole, opened
from gpu_ssl.errors import DataError

if TYPE_CHECKING:
    import pyarrow


class ParquetEmbeddings(Embeddings):
    """Embeddings in a Parquet file, or in all Parquet files of a folder.

    Parameters
    ----------
    rows : ParquetImages
        The files and their labels.
    part : str
        The column of embeddings.
    name_column : str, optional
        Column of text or whole numbers that names the rows.
    """

    def __init__(self, rows: ParquetImages, part: str, name_column: str | None) -> None:
        self.place, self.part, self._rows, self._name_column = rows.place, part, rows, name_column
        self.shape = sum(n for _, n in rows.shards), self._width()

    @property
    def files(self) -> Sequence[Path]:
        """See `Embeddings`."""
        return [path for path, _ in self._rows.shards]

    @cached_property
    def given_names(self) -> Sequence[str]:
        """See `Embeddings`."""
        names: list[str | int | None] = []
        for path in self.files if self._name_column else ():
            with opened(path) as file:
                if self._name_column in file.schema_arrow.names:
                    names += file.read([self._name_column]).column(0).to_pylist()
        return tuple(str(name) for name in names if name not in (None, ""))

    @property
    def named_by(self) -> str:
        """See `Embeddings`: the column of names."""
        return f"column {self._name_column} of {self.place}"

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """See `Embeddings.blocks`."""
        for path in self.files:
            with opened(path) as file:
                if self.part not in file.schema_arrow.names:
                    raise DataError(f"{path} has no column {self.part!r}")
                for batch in file.iter_batches(BLOCK, columns=[self.part]):
                    yield self._as_rows(batch.column(0))

    def labels(self) -> tuple[dict[str, str], Counter[str]]:
        """Return the label of each labelled row, and how often each word was read as a missing label."""
        labels, nothing = self._rows.labels()
        return {self.names[int(row)]: label for row, label in labels.items()}, nothing

    def groups(self) -> dict[str, str]:
        """Return the group of each row that has one; see `ParquetImages.groups`."""
        return {self.names[int(row)]: group for row, group in self._rows.groups().items()}

    def could_be_labels(self) -> list[str]:
        """Return the columns of the first file that hold text or numbers."""
        return self._rows.could_be_labels([self.part, self._name_column or ""])

    def _width(self) -> int:
        """Return the length of the first row that is not too short for an embedding."""
        for path in self.files:
            with opened(path) as file:
                for batch in file.iter_batches(BLOCK, columns=[self.part]):
                    found = _lengths(batch.column(0))
                    if (found >= LEAST_WIDTH).any():
                        return int(found[found >= LEAST_WIDTH][0])
        raise DataError(f"{self.place}: no row of column {self.part} has at least {LEAST_WIDTH} numbers")

    def _as_rows(self, lists: "pyarrow.Array") -> NDArray[np.float32]:
        import pyarrow

        n, width = len(lists), self.shape[1]
        complete = _lengths(lists) == width
        chosen = lists if complete.all() else lists.filter(pyarrow.array(complete))
        numbers = to_float32(chosen.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
        if complete.all():
            return numbers
        rows = np.full((n, width), np.nan, np.float32)
        rows[complete] = numbers
        return rows


def parquet_embeddings(data: Path, columns: Columns) -> ParquetEmbeddings | None:
    """Return the embeddings of a Parquet file or a folder of Parquet files; None if the rows are images.

    A column of encoded images takes precedence, unless `columns.path` names a column of lists of floats.

    Raises
    ------
    DataError
        If several columns may be embeddings.
    """
    rows = ParquetImages(data, columns)
    if not rows.shards:
        return None
    path = rows.shards[0][0]
    with opened(path) as file:
        schema = file.schema_arrow
        lists = [field.name for field in schema if _is_list(field.type)]
        texts = [field.name for field in schema if is_text(field.type)]
        numbers = [field.name for field in schema if is_whole(field.type)]
        images = encoded_columns(schema)
    requested = columns.path
    if not lists or (requested not in lists and (images or requested in images)):
        return None
    if requested not in lists and len(lists) > 1:
        raise DataError(
            f"{path} has several columns of embeddings: {', '.join(lists)}; choose one with `path_column`"
        )
    column = requested if requested is not None and requested in lists else lists[0]
    asked = requested if requested in (*texts, *numbers) else None
    name_column = asked or first_of(PATHS, texts) or first_of(PATHS, numbers)
    return ParquetEmbeddings(rows, column, name_column)


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and types.is_floating(kind.value_type))


def _lengths(lists: "pyarrow.Array") -> NDArray[np.int64]:
    """Return the length of each list, -1 for missing lists."""
    import pyarrow.compute

    lengths: NDArray[np.int64] = (
        pyarrow.compute.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return lengths
