"""The CSV file that names the classes of the few images that carry a label."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpu_ssl.errors import DataError, UsageError

COLUMNS = ("path", "label")


def read_labels(path: Path) -> dict[str, str]:
    """Read a CSV file with the columns ``path`` and ``label``.

    Rows whose label is empty say nothing; the same row may come twice.

    Returns
    -------
    dict of str to str
        The label of each path, both as they are written but for white space around them.

    Raises
    ------
    DataError
        If the file cannot be read, has not these columns, or gives a path two labels.
    """
    labels: dict[str, str] = {}
    for number, name, label in _rows(path):
        if not label:
            continue
        if labels.setdefault(name, label) != label:
            raise DataError(
                f"{path}, line {number}: {name!r} is labelled {label!r}, and {labels[name]!r} before; "
                "leave one of them out"
            )
    if not labels:
        raise DataError(f"{path} holds no label; each row is a path and its label, below a line path,label")
    return labels


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    try:
        # A byte order mark is what spreadsheets leave at the beginning.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, skipinitialspace=True)
            found = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
            missing = [name for name in COLUMNS if name not in found]
            if missing:
                _refuse_separator(path, reader.fieldnames)
                raise DataError(
                    f"{path} has no column {' and none '.join(missing)}; its first line must be path,label"
                )
            for row in reader:
                name, label = ((row[found[column]] or "").strip() for column in COLUMNS)
                yield reader.line_num, name, label
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _refuse_separator(path: Path, header: Sequence[str] | None) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if header and separator in header[0]:
            raise DataError(f"{path} separates its columns by {name}; save it with commas between them")
