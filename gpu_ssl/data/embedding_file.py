"""Writes embeddings a block at a time, with the names of what they are of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.data.embeddings import names_beside
from gpu_ssl.data.problems import printable
from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.optional import require

ENDINGS = (".npy", ".parquet")
"""Of the names of files that can be written."""

GROUP_BYTES = 2**25
"""Bytes that are kept until they are written to Parquet: a file of small groups is slow to read."""

Write = Callable[[Sequence[str], NDArray[np.float32]], None]
"""Takes names, and as many rows (m, width)."""


def check_ending(path: Path) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises
    ------
    UsageError
        If its name has another ending, or it is a folder.
    DependencyError
        If a package for it is not installed.
    """
    if path.suffix.lower() not in ENDINGS or path.is_dir():
        raise UsageError(f"{path} must be the name of a file that ends in {' or '.join(ENDINGS)}")
    if path.suffix.lower() == ".parquet":
        require("a Parquet file", "pyarrow")


@contextmanager
def embedding_file(path: Path, width: int) -> Iterator[Write]:
    """Give what writes embeddings of a width; when the block has ended well, the file is there.

    A Parquet file has the columns ``path`` and ``embedding``; beside an ``.npy`` file lies one of names, a
    line a row (`data.embeddings.names_beside`).
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

        def write_rows(own: Sequence[str], rows: NDArray[np.float32]) -> None:
            nonlocal n
            n += len(rows)
            names.writelines(f"{_one_line(name)}\n" for name in own)
            file.write(np.ascontiguousarray(rows, np.float32).data)

        _write_header(file, 0, width)
        begin = file.tell()
        yield write_rows
        file.seek(0)
        _write_header(file, n, width)  # NumPy leaves room for the number of rows to grow
        assert file.tell() == begin


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

    def write(own: Sequence[str], rows: NDArray[np.float32]) -> None:
        # Parquet's text is UTF-8, which the names of files need not be.
        names.extend(name.encode(errors="surrogateescape").decode(errors="backslashreplace") for name in own)
        blocks.append(np.ascontiguousarray(rows, np.float32))
        if 4 * width * len(names) >= GROUP_BYTES:
            write_out()

    # Float numbers hardly repeat: a dictionary of them costs time and saves nothing.
    with ParquetWriter(path, schema, use_dictionary=["path"]) as file:
        yield write
        write_out()
