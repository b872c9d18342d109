"""Writers of predictions: CSV or JSON lines to a file or stdout, Parquet to a file."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from gpu_ssl.cli.messages import no_formula, stdout_of_names
from gpu_ssl.errors import UsageError, either
from gpu_ssl.runtime.files import atomic_path, require_space
from gpu_ssl.runtime.optional import require

FORMATS = {"csv": (".csv",), "jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",)}
"""The formats, and the file name endings that imply them."""

ANSWERS = {ending for endings in FORMATS.values() for ending in endings} | {".npy", ".onnx"}
"""The file name endings of what commands write."""

ESCAPE_FORMULAS = (
    "Write ' before names in CSV that begin with =, +, - or @, which a spreadsheet would run as formulas."
)
"""Help of the option."""

ROWS = 65_536
"""Rows per group in Parquet; a file of small groups is slow to read."""

Rows = list[dict[str, Any]]
Write = Callable[[Rows], None]
"""Writes rows, each with a value for every column."""


def choose_format(output: Path | None, asked: str | None) -> str:
    """Return the output format: the requested one, or the one that the file name implies.

    Raises
    ------
    UsageError
        If `output` is a folder, its ending is unknown and no format is requested, or Parquet is requested on
        stdout.
    DependencyError
        If a package that it needs is not installed.
    """
    check_output(output)
    kind = asked or "csv"
    if asked is None and output is not None and output.suffix:
        implied = [name for name, endings in FORMATS.items() if output.suffix.lower() in endings]
        if not implied:
            known = either([ending for endings in FORMATS.values() for ending in endings])
            raise UsageError(f"expected an output file that ends in {known}, got {output}; or give --format")
        (kind,) = implied
    if kind == "parquet":
        if output is None:
            raise UsageError("--format parquet is not for stdout; name a file with --output")
        require("a Parquet file", "pyarrow", extra="parquet")
    return kind


def check_output(output: Path | None, needed: int = 0) -> None:
    """Check that a file can be written, before the work starts.

    Parameters
    ----------
    output : Path, optional
        The file; None is stdout. A pipe or a device is not checked.
    needed : int
        Its minimum size in bytes.

    Raises
    ------
    UsageError
        If `output` is a folder.
    StorageError
        If it is not writable, or the disk has too little space.
    """
    if output is None:
        return
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name a file")
    if output.is_file() or not output.exists():
        require_space(Path(os.path.realpath(output)).parent, needed)


def refuse_inputs(output: Path | None, *inputs: Path) -> None:
    """Refuse an output file that is an input, or would replace a file of an input folder.

    Answers may be written into a folder of images or of a model, and replaced there by the next ones.

    Raises
    ------
    UsageError
        If `output` is one of `inputs`, or an existing file in one of them that is not of answers.
    """
    if output is None or not output.is_file():
        return
    from gpu_ssl.data.parquet import SUFFIX, holds_parquet

    place = Path(os.path.realpath(output))
    for given in inputs:
        whole = Path(os.path.realpath(given))
        is_shard = place.suffix.lower() == SUFFIX and place.parent == whole and holds_parquet(whole)
        if place == whole or is_shard or (whole in place.parents and place.suffix.lower() not in ANSWERS):
            raise UsageError(f"{output} is read by this command and would be lost; name another file")


@contextmanager
def opened(output: Path | None) -> Iterator[TextIO]:
    """Yield stdout, or a file that appears when the block ends without an error."""
    # File names need not be UTF-8; they are written as they were read.
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
    """Yield a writer of rows with these columns (text or numbers) in a format of `choose_format`.

    With `escape_formulas`, a spreadsheet takes no cell of CSV for a formula; see `messages.no_formula`.
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
        # Text in Parquet is UTF-8; file names need not be.
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
