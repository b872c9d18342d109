"""Reads tables of labels in whatever format people and programs write them."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.optional import require

DELIMITERS = (",", ";", "\t", "|", " ")
LARGEST = 2**31
"""Bytes of a table that is read."""


class Row(NamedTuple):
    """A row of a table: where it stands, for messages, and its cells by column."""

    where: str
    cells: dict[str, str]


class Table(NamedTuple):
    """Columns, as their header names them or by their numbers from 1, and rows."""

    columns: list[str]
    rows: list[Row]
    has_header: bool = True


def read_table(path: Path) -> Table:
    """Read a table from CSV and its kin, JSON, JSON lines or Parquet, found by what is in the file.

    Of text, commas, semicolons, tabs, bars or spaces may separate the columns; it is UTF-8 (with or without a
    byte order mark), UTF-16, or holds bytes of Windows-1252. JSON is a list of objects, as Hugging Face's and
    Label Studio's are, or an object of labels by path.

    Raises
    ------
    UsageError
        If the file cannot be read.
    DataError
        If it holds no table.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give the file with the labels")
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} is larger than a file of labels can be")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if content.startswith(b"PAR1"):
        return _of_objects(_parquet_rows(path), path)
    text = _decoded(content)
    if text.lstrip()[:1] in ("{", "["):
        return _of_objects(_json_objects(text, path), path)
    return _delimited(text, path)


def _decoded(content: bytes) -> str:
    """Return the text of a file; bytes that are no UTF-8 become what `text_of` makes Windows-1252 of."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    half = content[:1000:2].count(0), content[1:1000:2].count(0)
    if max(half) > 10 * max(1, min(half)):  # letters of two bytes, one of them 0 for most
        return content.decode("utf-16-be" if half[0] > half[1] else "utf-16-le", errors="replace")
    return content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")


def text_of(cell: str) -> str:
    """Return a cell with its bytes that are no UTF-8 read as Windows-1252."""
    content = cell.encode(errors="surrogateescape")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimited(text: str, path: Path) -> Table:
    if text.lower().startswith("sep=") and len(text) > 4:  # a hint that spreadsheets understand
        delimiter, text = text[4], text.partition("\n")[2]
    else:
        delimiter = _delimiter(text)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    rows: list[tuple[int, list[str]]] = []
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    if not rows:
        return Table([], [])
    columns = [cell.strip() for cell in rows[0][1]]
    return Table(
        columns,
        [
            Row(f"{path}, line {number}", dict(zip(columns, cells, strict=False)))
            for number, cells in rows[1:]
        ],
    )


def without_header(table: Table) -> Table:
    """Return a table whose first row was no header: its columns are numbers."""
    names = [str(number) for number in range(1, len(table.columns) + 1)]
    first = Row("line 1", dict(zip(names, table.columns, strict=True)))
    rest = [Row(row.where, dict(zip(names, row.cells.values(), strict=False))) for row in table.rows]
    return Table(names, [first, *rest], has_header=False)


def _delimiter(text: str) -> str:
    """Return what separates the columns: what gives most rows the number of columns that most have."""
    lines = text.splitlines()[:50]

    def columns(delimiter: str) -> tuple[int, int]:
        try:
            widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
        except csv.Error:
            return 0, 0
        several = [width for width in widths if width > 1]
        usual = max(set(several), key=several.count) if several else 0
        return several.count(usual), min(usual, 2)

    return max(DELIMITERS, key=columns)


def _json_objects(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply") from error
    except ValueError as error:
        content = _json_lines(text, path, error)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list) and value]
        if content and all(not isinstance(value, dict | list) for value in content.values()):
            content = [{"path": name, "label": label} for name, label in content.items()]
        elif len(lists) == 1:
            content = lists[0]
        else:
            content = [content]
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{path} is JSON, but no list of objects with a path and a label each")
    return [flat for entry in content for flat in _flattened(entry)]


def _json_lines(text: str, path: Path, whole: ValueError) -> list[Any]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                problem = whole if number == 1 else error
                raise DataError(f"{path}, line {number}: not JSON: {problem}") from error
    return found


def _flattened(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give an object as it is; of Label Studio's tasks, one row for each annotation."""
    data = task.get("data")
    if not isinstance(data, dict):
        yield task
        return
    rows = task.get("annotations", task.get("completions", []))
    for annotation in rows if isinstance(rows, list) else []:
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            for result in annotation.get("result") or []:
                value = result.get("value") if isinstance(result, dict) else None
                if isinstance(value, dict) and "choices" in value:
                    yield {**data, "choice": value}


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    require("a Parquet file", "pyarrow")
    import pyarrow.parquet
    import pyarrow.types as types

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            plain = [
                f.name for f in file.schema_arrow if not (types.is_nested(f.type) or types.is_binary(f.type))
            ]
            rows: list[dict[str, Any]] = file.read(plain).to_pylist()
    except Exception as error:  # Arrow meets hostile bytes, and raises whatever it likes
        raise DataError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from error
    return rows


def _of_objects(objects: Sequence[dict[str, Any]], path: Path) -> Table:
    columns = list(dict.fromkeys(str(name) for entry in objects for name in entry))
    rows = [
        Row(
            f"{path}, entry {number}",
            {str(name): _cell(value, path, number) for name, value in entry.items()},
        )
        for number, entry in enumerate(objects, 1)
    ]
    return Table(columns, rows)


def _cell(value: Any, path: Path, number: int) -> str:
    """Return a value of JSON as text; of choices that a labelling tool writes, the one that was made."""
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = value["choices"]
    if isinstance(value, list):
        if len(value) > 1 and all(isinstance(each, str) for each in value):
            raise DataError(f"{path}, entry {number}: {value} are several labels; an image can have one")
        value = value[0] if len(value) == 1 else None
    if value is None or isinstance(value, dict):
        return ""
    return str(value)
