"""Where the answers of ``gpu-ssl predict`` go: CSV or JSON lines to a file or stdout, Parquet to a file."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from gpu_ssl.cli.messages import no_formula, stdout_of_names
from gpu_ssl.errors import UsageError
from gpu_ssl.runtime.files import atomic_path, require_space
from gpu_ssl.runtime.optional import require

FORMATS = {"csv": (".csv",), "jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",)}
"""The formats, and the endings of names that stand for them."""

ESCAPE_FORMULAS = (
    "Write ' before names in CSV that begin with =, +, - or @, which a spreadsheet would run as formulas."
)
"""Help of the option."""

ROWS = 65_536
"""Rows that are kept until they are written to Parquet: a file of small groups is slow to read."""

Rows = list[dict[str, Any]]
Write = Callable[[Rows], None]
"""Takes rows, each with a value for every column."""


def choose_format(output: Path | None, asked: str | None) -> str:
    """Return the format of answers: the one asked for, or the one that the name of the file says.

    Raises
    ------
    UsageError
        If `output` is a folder, or Parquet is to go to stdout.
    DependencyError
        If a package for it is not installed.
    """
    check_output(output)
    ending = "" if output is None else output.suffix.lower()
    kind = asked or next((name for name, endings in FORMATS.items() if ending in endings), "csv")
    if kind == "parquet":
        if output is None:
            raise UsageError("--format parquet is not for stdout; name a file with --output")
        require("a Parquet file", "pyarrow")
    return kind


def check_output(output: Path | None, needed: int = 0) -> None:
    """Check that a file can be written, before any work is done.

    Parameters
    ----------
    output : Path, optional
        The file; None is stdout. A pipe or a device is not checked.
    needed : int
        Bytes that it will have at least.

    Raises
    ------
    UsageError
        If `output` is a folder.
    StorageError
        If it cannot be written, or the disk is too full.
    """
    if output is None:
        return
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name a file")
    if output.is_file() or not output.exists():
        require_space(Path(os.path.realpath(output)).parent, needed)


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Give stdout, or a file that is there when the block has ended well."""
    # File names need not be UTF-8; they go out as they came in.
    if output is None:
        yield stdout_of_names()
        return
    with (
        atomic_path(output) as path,
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file


@contextmanager
def answer_file(
    output: Path | None, kind: str, columns: dict[str, type], escape_formulas: bool = False
) -> Iterator[Write]:
    """Give what writes rows of these columns, text or numbers, in a format of `choose_format`.

    With `escape_formulas` no cell of CSV is a formula to a spreadsheet; see `messages.no_formula`.
    """
    if kind == "parquet":
        assert output is not None
        with atomic_path(output) as path, _parquet(path, columns) as write:
            yield write
        return
    with opened(output) as file:
        if kind == "jsonl":
            yield lambda rows: file.writelines(json.dumps(row) + "\n" for row in rows)
            return
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        if not escape_formulas:
            writer.writeheader()
            yield writer.writerows
            return
        writer.writerow({name: no_formula(name) for name in columns})
        yield lambda rows: writer.writerows(
            {name: no_formula(cell) for name, cell in row.items()} for row in rows
        )


@contextmanager
def _parquet(path: Path, columns: dict[str, type]) -> Iterator[Write]:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    kinds = {str: pyarrow.string(), float: pyarrow.float32()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    waiting: Rows = []

    def write_out() -> None:
        if waiting:
            file.write_table(pyarrow.Table.from_pylist(waiting, schema))
            waiting.clear()

    def write(rows: Rows) -> None:
        # Parquet's text is UTF-8, which the names of files need not be.
        waiting.extend({name: _utf8(value) for name, value in row.items()} for row in rows)
        if len(waiting) >= ROWS:
            write_out()

    with ParquetWriter(path, schema) as file:
        yield write
        write_out()


def _utf8(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
