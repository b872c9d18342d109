"""Opening Parquet files, and the types of their columns."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_ssl.errors import DataError, GpuSslError
from gpu_ssl.runtime.optional import require

if TYPE_CHECKING:
    import pyarrow.parquet

BUFFER = 2**20
"""Number of bytes of a column read at a time. Without it, Arrow reads whole row groups; with Arrow's
pre-buffering, all data read stays in memory."""


@contextmanager
def opened(path: Path) -> Iterator["pyarrow.parquet.ParquetFile"]:
    """Open a Parquet file; any failure to read it is raised as a DataError."""
    require("a Parquet file", "pyarrow", extra="parquet")
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            yield file
    except (GpuSslError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes Arrow raise exceptions of many types
        raise DataError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from error


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is text."""
    return str(kind) in ("string", "large_string", "string_view")


def is_whole(kind: Any) -> bool:
    """Whether an Arrow type is of whole numbers."""
    import pyarrow.types as types

    return bool(types.is_integer(kind))
