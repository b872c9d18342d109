"""Writing embeddings and the names of their rows, one block at a time."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import names_beside
from gpu_ssl.data.problems import printable
from gpu_ssl.errors import UsageError, either
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.optional import require

ENDINGS = (".npy", ".parquet")
"""File name endings of the formats that can be written."""

GROUP_BYTES = 2**25
"""Size of a Parquet row group in bytes: files of small groups are slow to read."""

Write = Callable[[Sequence[str], NDArray[np.float32]], None]
"""Writes m names and their rows, shape (m, width)."""


def check_ending(path: Path) -> None:
    """Check that an output file can be written, before any work is done.

    Raises
    ------
    UsageError
        If the file name has an unsupported ending, or is a folder.
    DependencyError
        If the package that writes the format is not installed.
    """
    if path.suffix.lower() not in ENDINGS or path.is_dir():
        raise UsageError(f"expected an output file that ends in {either(ENDINGS)}, got {path}")
    if path.suffix.lower() == ".parquet":
        require("a Parquet file", "pyarrow", extra="parquet")


@contextmanager
def embedding_file(path: Path, width: int) -> Iterator[Write]:
    """Yield a function that writes embeddings; the file appears when the block ends without an error.

    A Parquet file gets the columns ``path`` and ``embedding``. An ``.npy`` file gets a text file of row
    names next to it, one per line (`data.embeddings.names_beside`).
    """
    if path.suffix.lower() == ".parquet":
        with atomic_path(path) as temporary, _parquet(temporary, width) as write:
            yield write
        return
    with (
        atomic_path(path) as temporary,
        atomic_path(names_beside(path)) as beside,
        temporary.open("w+b") as file,
        beside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as names,
    ):
        n = 0

        def write_rows(row_names: Sequence[str], rows: NDArray[np.float32]) -> None:
            nonlocal n
            n += len(rows)
            names.writelines(f"{_one_line(name)}\n" for name in row_names)
            file.write(np.ascontiguousarray(rows, np.float32).data)

        _write_header(file, 0, width)
        begin = file.tell()
        yield write_rows
        file.seek(0)
        _write_header(file, n, width)  # NumPy pads the header, so that the number of rows can grow
        assert file.tell() == begin
        file.flush()
        Path(os.path.realpath(path)).unlink(
            missing_ok=True
        )  # Stopped between the two, numbers must not have the names of others.


def _write_header(file: Any, n: int, width: int) -> None:
    described = {"descr": "<f4", "fortran_order": False, "shape": (n, width)}
    np.lib.format.write_array_header_1_0(file, described)


def _one_line(name: str) -> str:
    return printable(name) if "\n" in name or "\r" in name else name


@contextmanager
def _parquet(path: Path, width: int) -> Iterator[Write]:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    kind = pyarrow.list_(pyarrow.float32(), width)
    schema = pyarrow.schema([("path", pyarrow.string()), ("embedding", kind)])
    names: list[str] = []
    blocks: list[NDArray[np.float32]] = []

    def write_out() -> None:
        if names:
            numbers = pyarrow.array(np.concatenate(blocks).ravel())
            rows = pyarrow.FixedSizeListArray.from_arrays(numbers, width)
            file.write_table(pyarrow.table([pyarrow.array(names, pyarrow.string()), rows], schema=schema))
            names.clear()
            blocks.clear()

    def write(row_names: Sequence[str], rows: NDArray[np.float32]) -> None:
        # Parquet strings are UTF-8; file names need not be.
        names.extend(
            name.encode(errors="surrogateescape").decode(errors="backslashreplace") for name in row_names
        )
        blocks.append(np.ascontiguousarray(rows, np.float32))
        if 4 * width * len(names) >= GROUP_BYTES:
            write_out()

    # Floats hardly repeat: dictionary encoding would cost time and save nothing.
    with ParquetWriter(path, schema, use_dictionary=["path"]) as file:
        yield write
        write_out()
