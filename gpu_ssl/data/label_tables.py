"""Reading label tables: CSV and similar text, JSON, JSON lines and Parquet."""

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gpu_ssl.data.label_json import cell_of, json_objects
from gpu_ssl.data.label_parquet import parquet_rows
from gpu_ssl.data.problems import Problem, counted
from gpu_ssl.errors import DataError, UsageError
from gpu_ssl.runtime.files import read_given

DELIMITERS = (",", ";", "\t", "|", " ")
LARGEST = 2**31
"""Maximum size of a table in bytes."""

IN_BRACKETS = re.compile(r"""[\[{][^\[\]{},"']*[\]}][ \t]*[^\s,;]""")
"""Start of a name in brackets, which is not JSON."""

COMMENTS = re.compile(r"\A(?:[ \t]*(?:#[^,;\t|\r\n]*)?(?:\r\n|\r|\n))+(?=[^\r\n]*[,;\t|])")
"""Lines of comments above a table."""

NO_TEXT = {
    b"PK\x03\x04": "a workbook or an archive",
    b"\xd0\xcf\x11\xe0": "a workbook or document of Office",
    b"\x1f\x8b": "compressed",
    b"%PDF": "a PDF",
}
"""First bytes of common files that are not label tables."""


class Row(NamedTuple):
    """A table row: its location for error messages, and its cells by column."""

    where: str
    cells: dict[str, str]


class Table(NamedTuple):
    """Columns, rows, the first row of a text file, which is usually the header, and the problems found.

    Column names are unique: the second of two columns x is named ``x (2)``.
    """

    columns: list[str]
    rows: list[Row]
    first: Row | None = None
    problems: Sequence[Problem] = ()


def read_table(path: Path) -> Table:
    """Read a table from delimited text, JSON, JSON lines or Parquet; the format is recognized by content.

    Text may be delimited by commas, semicolons, tabs, bars or spaces, and encoded in UTF-8 (with or without
    a byte order mark), UTF-16 or Windows-1252. JSON is a list of objects, as written by Hugging Face and
    Label Studio, or an object that maps paths to labels.

    Raises
    ------
    UsageError
        If the file cannot be read.
    DataError
        If the file holds no table.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give a label file")
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} is too large for a label file: more than {LARGEST / 2**30:g} GiB")
        content = read_given(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if content.startswith(b"PAR1"):
        return _of_objects(parquet_rows(path), [], path)
    kind = next((kind for start, kind in NO_TEXT.items() if content.startswith(start)), None)
    if kind is None and b"\0\0\0" in content[:1000]:
        kind = "a binary file"
    if kind is not None:
        raise DataError(f"{path} is {kind}; expected a table of labels: save it as CSV")
    text = _decoded(content)
    if text.lstrip()[:1] == "<" and text.rstrip()[-1] == ">":
        raise DataError(f"{path} is XML or HTML; expected a table with the columns path and label")
    if text.lstrip()[:1] in ("{", "[") and not IN_BRACKETS.match(text):
        return _of_objects(*json_objects(text, path), path)
    return _delimited(text, path)


def _decoded(content: bytes) -> str:
    """Decode the text of a file; bytes that are not UTF-8 are kept as surrogates for `text_of`."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    half = content[:1000:2].count(0), content[1:1000:2].count(0)
    if max(half) > 10 * max(1, min(half)):  # UTF-16 without a byte order mark: every other byte is 0
        return content.decode("utf-16-be" if half[0] > half[1] else "utf-16-le", errors="replace")
    return content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")


def text_of(cell: str) -> str:
    """Return the text of a cell, read as Windows-1252 if it is not valid UTF-8.

    Half of a character of two, as programs in JavaScript cut off, becomes U+FFFD.
    """
    try:
        content = cell.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return cell.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimited(text: str, path: Path) -> Table:
    text = COMMENTS.sub(lambda found: "\n" * found[0].count("\n"), text)  # the numbers of lines remain
    if text.lower().startswith("sep=") and len(text) > 4:  # the delimiter hint of spreadsheet programs
        delimiter, text = text[4], text.partition("\n")[2]
    else:
        delimiter = _delimiter(text)
    # A space after the delimiter is part of the cell, unless a quote follows it anywhere in the file.
    spaced = delimiter == " " or re.search(rf'{re.escape(delimiter)} +"', text) is not None
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced
    )
    rows: list[tuple[int, list[str]]] = []
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    if not rows:
        return Table([], [])
    header = rows[0][1]
    if len(header) > 1 < len(rows) and all(
        len(cells) == len(header) + 1 and cells[-1].strip() for _, cells in rows[1:]
    ):
        header = ["", *header]  # R writes no header for the row numbers
    columns = _unique([cell.strip() for cell in header])
    first, *rest = (_row(columns, cells, f"{path}, line {number}") for number, cells in rows)
    return Table(columns, rest, first)


def _unique(names: Sequence[str]) -> list[str]:
    unique: dict[str, None] = {}
    for name in names:
        number = 2
        new = name
        while new in unique:
            new, number = f"{name} ({number})", number + 1
        unique[new] = None
    return list(unique)


def _row(columns: Sequence[str], cells: Sequence[str], where: str) -> Row:
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise DataError(
            f"{where}: expected {counted(len(columns), 'cell')} as in the first line, got {len(cells)}; "
            "quote text that contains the delimiter, and delete lines above the header"
        )
    return Row(where, dict(zip(columns, cells, strict=False)))


def without_header(table: Table) -> Table:
    """Return the table with its first row as data and numbered columns, for files without a header."""
    names = [str(number) for number in range(1, len(table.columns) + 1)]
    rows = table.rows if table.first is None else [table.first, *table.rows]
    return Table(names, [Row(row.where, dict(zip(names, row.cells.values(), strict=False))) for row in rows])


def _delimiter(text: str) -> str:
    """Return the delimiter with which the most rows agree on the number of columns."""
    lines = list(islice(io.StringIO(text, newline=""), 50))

    def columns(delimiter: str) -> tuple[int, int]:
        try:
            widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
        except csv.Error:
            return 0, 0
        several = [width for width in widths if width > 1]
        usual = max(set(several), key=several.count) if several else 0
        return several.count(usual), min(usual, 2)

    return max(DELIMITERS, key=columns)


def _of_objects(objects: Sequence[dict[str, Any]], problems: Sequence[Problem], path: Path) -> Table:
    columns = list(dict.fromkeys(str(name) for entry in objects for name in entry))
    rows = [
        Row(f"{path}, entry {number}", {str(name): cell_of(value) for name, value in entry.items()})
        for number, entry in enumerate(objects, 1)
    ]
    return Table(columns, rows, None, problems)
