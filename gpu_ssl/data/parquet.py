"""Parquet files of encoded images, as Hugging Face's data sets have them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_ssl.data.decoding import Source
from gpu_ssl.data.encoded import SURVEYED, spread_over
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
    """The images of a Parquet file.

    One column holds them: encoded bytes, or a struct with a field ``bytes`` of these. A column ``label`` or
    ``labels`` may name their classes: words, or numbers whose names the metadata of Hugging Face's *datasets*
    tell; -1, an empty word and null say nothing.

    Parameters
    ----------
    place : Path
        The file.
    """

    place: Path

    @cached_property
    def names(self) -> Sequence[str]:
        """The numbers of the rows, from 0."""
        with _opened(self.place) as file:
            return [str(i) for i in range(file.metadata.num_rows)]

    @property
    def files(self) -> Sequence[str]:
        """See `EncodedImages`."""
        return ("",)

    def sources(self) -> Iterator[Source]:
        """See `EncodedImages`; what holds no bytes gives none."""
        with _opened(self.place) as file:
            yield from self._rows(file, list(range(file.num_row_groups)))

    def survey(self) -> list[Source]:
        """See `EncodedImages`."""
        with _opened(self.place) as file:
            groups = spread_over(file.num_row_groups, GROUPS)
            rows = sum(file.metadata.row_group(group).num_rows for group in groups)
            wanted = set(spread_over(rows, SURVEYED))
            return [source for i, source in enumerate(self._rows(file, groups)) if i in wanted]

    def _rows(self, file: "pyarrow.parquet.ParquetFile", groups: list[int]) -> Iterator[Source]:
        name, is_struct = _image_column(file, self.place)
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
        import pyarrow.types as types

        with _opened(self.place) as file:
            schema = file.schema_arrow
            column = next((name for name in ("label", "labels") if name in schema.names), None)
            if column is None:
                return {}
            kind = schema.field(column).type
            if types.is_dictionary(kind):
                kind = kind.value_type
            if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
                raise DataError(f"{self.place}: column {column} must hold numbers or words, not {kind}")
            names = _class_names(schema.metadata or {}, column)
            values = file.read([column]).column(0).to_pylist()
        return {str(i): _named(v, names) for i, v in enumerate(values) if v not in (None, -1, "")}


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
