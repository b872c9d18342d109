"""Labels in Parquet files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpu_ssl.data.hugging_face import class_names, class_of
from gpu_ssl.errors import DataError
from gpu_ssl.runtime.optional import require

LONGEST = 4096
"""Maximum length in bytes of binary values that may be texts; images are longer."""


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file as objects, without columns of encoded images or of embeddings.

    Binary texts are decoded, and the numbers of a Hugging Face ClassLabel are replaced by its names.

    Raises
    ------
    DataError
        If the file is not readable.
    """
    require("a Parquet file", "pyarrow", extra="parquet")
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = [field.name for field in schema if not _is_data(field.type)]
            columns += [
                field.name for field in schema if _is_bytes(field.type) and _are_short(file, field.name)
            ]
            rows: list[dict[str, Any]] = file.read(columns).to_pylist()
    except Exception as error:  # a damaged file makes Arrow raise exceptions of many types
        raise DataError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from error
    converters = {name: _converter(schema.metadata or {}, name) for name in columns}
    return [{name: converters[name](value) for name, value in row.items()} for row in rows]


def _is_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _is_data(kind: Any) -> bool:
    """Whether a type, or a part of it, is of binary values, as of an image, or of lists of numbers."""
    import pyarrow.types as types

    parts = [kind.field(i).type for i in range(kind.num_fields)]
    numbers = not types.is_struct(kind) and any(types.is_primitive(part) for part in parts)
    return _is_bytes(kind) or numbers or any(map(_is_data, parts))


def _are_short(file: Any, column: str) -> bool:
    """Whether the values of a binary column are short enough for texts, by the file's own numbers."""
    metadata = file.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    parts = [group.column(i) for group in groups for i in range(group.num_columns)]
    size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema == column)
    return bool(size <= LONGEST * max(1, metadata.num_rows))


def _converter(metadata: Mapping[bytes, bytes], column: str) -> Callable[[Any], Any]:
    """Return a function from the values of a column to texts, where these are bytes or numbered classes."""
    names = class_names(metadata, column)

    def convert(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode(errors="surrogateescape")
        return class_of(names, value) if names and value is not None else value

    return convert
