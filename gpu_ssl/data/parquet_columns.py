"""Which columns of a Parquet file hold images, labels and groups."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from gpu_ssl.data.hugging_face import class_names
from gpu_ssl.data.label_columns import GROUPS, LABELS, PATHS, Columns, first_of
from gpu_ssl.data.parquet_file import is_text, is_whole, opened
from gpu_ssl.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow.parquet


class ImageColumn(NamedTuple):
    """The columns to read for images, and the struct fields of bytes and paths; "" is the column itself."""

    read: list[str]
    bytes: str | None
    path: str | None


def encoded_columns(schema: "pyarrow.Schema") -> dict[str, ImageColumn]:
    """Return the columns that hold encoded images, or structs with their bytes or paths."""
    import pyarrow.types as types

    found = {}
    for name, kind in ((field.name, field.type) for field in schema):
        if _is_binary(kind):
            found[name] = ImageColumn([name], "", None)
        elif types.is_struct(kind):
            parts = {f.name for f in kind if (f.name == "bytes" and _is_binary(f.type)) or f.name == "path"}
            if parts:
                found[name] = ImageColumn(
                    [f"{name}.{part}" for part in sorted(parts)],
                    "bytes" if "bytes" in parts else None,
                    "path" if "path" in parts else None,
                )
    return found


def _is_binary(kind: Any) -> bool:
    return str(kind) in ("binary", "large_binary", "binary_view")


def image_column(schema: "pyarrow.Schema", path: Path, requested: str | None) -> ImageColumn:
    """Return the column of images: the requested one, else the only one, else one of paths with a usual name.

    Raises
    ------
    DataError
        If there is none, or it is not clear which.
    """
    kinds = {field.name: field.type for field in schema}
    found = encoded_columns(schema)
    text = requested if requested in kinds and is_text(kinds[requested]) else first_of(PATHS, list(kinds))
    if requested in found:
        return found[requested]
    if len(found) == 1 and requested is None:
        return next(iter(found.values()))
    if text is not None and is_text(kinds[text]) and (not found or requested):
        return ImageColumn([text], None, "")
    listed = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    raise DataError(
        f"{path}: expected one column of encoded images or of their paths, got {listed}; name it with "
        "`path_column`"
    )


def labels_of_rows(path: Path, requested: str | None) -> tuple[list[Any], list[str]]:
    """Return the labels of all rows and the class names of numeric labels; empty lists without labels."""
    with opened(path) as file:
        schema = file.schema_arrow
        column = requested or first_of(LABELS, schema.names)
        if column is None:
            return [], []
        if column not in schema.names:
            raise DataError(f"{path} has no column {column!r}; its columns are {', '.join(schema.names)}")
        kind = schema.field(column).type
        if not is_label(kind):
            raise DataError(f"{path}: expected whole numbers or words in column {column}, got {kind}")
        return file.read([column]).column(0).to_pylist(), class_names(schema.metadata or {}, column)


def groups_of_rows(path: Path, columns: Columns) -> list[Any]:
    """Return the group of each row; an empty list without groups.

    Raises
    ------
    UsageError, DataError
        If the requested column is that of the labels, or missing.
    """
    if columns.group is not None and columns.group == columns.label:
        raise UsageError(f"{path}: column {columns.label!r} holds the labels; name another for the groups")
    with opened(path) as file:
        schema = file.schema_arrow
        column = columns.group or first_of(GROUPS, schema.names)
        if column is None:
            return []
        if column not in schema.names:
            raise DataError(f"{path} has no column {column!r}; its columns are {', '.join(schema.names)}")
        if columns.group is None and (
            column == columns.label or not (is_text(kind := schema.field(column).type) or is_whole(kind))
        ):
            return []
        return cast("list[Any]", file.read([column]).column(0).to_pylist())


def is_label(kind: Any) -> bool:
    """Whether a column of this type may hold labels."""
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
