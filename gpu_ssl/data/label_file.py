"""Reading label files: choosing the columns, and settling conflicting labels."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpu_ssl.data.label_columns import GROUPS, LABELS, PATHS, Columns, first_of, folded
from gpu_ssl.data.label_json import choice_in
from gpu_ssl.data.label_tables import Row, Table, read_table, text_of, without_header
from gpu_ssl.data.labels import clean, is_no_label, unify_numbers
from gpu_ssl.data.one_hot import LABEL, from_one_hot
from gpu_ssl.data.problems import Problem, counted, examples, printable
from gpu_ssl.errors import DataError, UsageError

SAMPLED = 20
"""Number of rows in which a column of image names is recognized."""

OF_FILES = ("file", "path", "image", "img", "photo", "picture", "name", "url")
"""Parts of the names of columns that hold names of files."""

OF_COCO = frozenset({"images", "annotations", "categories"})

ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")

ANSWER, ACCEPTED, REJECTED = "answer", "accept", ("reject", "ignore")
"""Column in which Prodigy says whether the annotator accepted the label, and its values."""


@dataclass
class GivenLabels:
    """The rows of label files that hold a label or a group, in order.

    Attributes
    ----------
    rows : list of (str, str, str, str)
        Location in the file, image name, label and group of each row; "" for a missing label or group.
    taken_as_none : Counter of str
        How often each word was read as a missing label.
    problems : list of Problem
        Problems to report to the user.
    name_columns : set of str
        The columns that name images.
    """

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    taken_as_none: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    name_columns: set[str] = field(default_factory=set)


def read_labels(paths: Sequence[Path], columns: Columns, is_image: Callable[[str], bool]) -> GivenLabels:
    """Read label files; see `data.label_tables.read_table` for the formats.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    columns : Columns
        Column names given by the user.
    is_image : callable
        Whether a text is the name of an image; finds the path column if the header does not name it.

    Raises
    ------
    UsageError, DataError
        If a file cannot be read, has no such columns, or holds no label.
    """
    given = GivenLabels()
    for path in paths:
        _read(path, columns, is_image, given)
    if numbers := unify_numbers(label for _, _, label, _ in given.rows if label):
        changed = sorted(label for label, number in numbers.items() if label != number)
        given.rows = [
            (where, name, numbers.get(label, ""), group) for where, name, label, group in given.rows
        ]
        if changed:
            listed = ", ".join(f"{label} is {numbers[label]}" for label in changed[:3])
            message = f"labels are read as whole numbers: {listed}"
            given.problems.append(Problem("suspicious-class", len(changed), (), message))
    return given


def _read(path: Path, columns: Columns, is_image: Callable[[str], bool], given: GivenLabels) -> None:
    table = read_table(path)
    name_column, label_column, table = _choose_columns(path, table, columns, is_image)
    given.problems += table.problems
    given.name_columns.add(name_column)
    rest = [column for column in table.columns if column not in (name_column, label_column)]
    group_column = columns.group or first_of(GROUPS, rest)
    if group_column == label_column:
        raise UsageError(f"{path}: column {label_column!r} holds the labels; name another for the groups")
    for column in (name_column, label_column, group_column):
        if f"{column} (2)" in table.columns:
            raise DataError(f"{path} has several columns {column!r}; rename or delete all but one")
    others = [name for name in rest if folded(name) in LABELS and name != ACCEPTED]
    if others and not columns.label:
        message = f"{path}: labels are read from column {label_column!r}, not from {examples(others)}; "
        given.problems.append(
            Problem("columns", len(others), (), message + "choose another with `label_column`")
        )
    if label_column != ANSWER:
        table = _accepted(path, table, given.problems)
    found = 0
    for row in table.rows:
        label = clean(choice_in(text_of(row.cells.get(label_column, "")).strip(), row.where))
        if is_no_label(label):
            if label:
                given.taken_as_none[label] += 1
            label = ""
        group = text_of(row.cells.get(group_column, "")).strip() if group_column else ""
        group = "" if is_no_label(group) else group
        found += bool(label)
        if _name(row, name_column):
            given.rows.append((row.where, row.cells[name_column], label, group))
        elif label:
            raise DataError(f"{row.where} has the label {label!r} but no {name_column}")
    if (
        not found
        and table.rows
        and not any(text_of(row.cells.get(label_column, "")).strip() for row in table.rows)
    ):
        raise DataError(f"{path} has no label yet: fill in its column {label_column}")
    if not found:
        raise DataError(f"{path} holds no label; expected a header path,label and one image per row")


def _accepted(path: Path, table: Table, problems: list[Problem]) -> Table:
    """Return the table without rows whose label the annotator did not accept, and note how many these are."""
    answers = [row.cells.get(ANSWER, "") for row in table.rows]
    if not all(answer in ("", ACCEPTED, *REJECTED) for answer in answers):
        return table
    rows = [row for row, answer in zip(table.rows, answers, strict=True) if answer not in REJECTED]
    if left_out := len(table.rows) - len(rows):
        message = f"{path}: {counted(left_out, 'label')} not accepted, by column {ANSWER}, left out"
        problems.append(Problem("columns", left_out, (), message))
    return table._replace(rows=rows)


def _name(row: Row, column: str) -> str:
    return row.cells.get(column, "").strip()


def _choose_columns(
    path: Path, table: Table, columns: Columns, is_image: Callable[[str], bool]
) -> tuple[str, str, Table]:
    """Return the path column, the label column, and the table, reread without a header if it has none."""
    requested = [name for name in (columns.path, columns.label, columns.group) if name is not None]
    if requested and not any(name in table.columns for name in requested) and _are_numbers(requested, table):
        table = without_header(table)
    by_name = first_of(PATHS, table.columns), _label_column(table.columns)
    for name in requested:
        if name not in table.columns:
            raise UsageError(f"{path} has no column {name!r}; its columns are {_listed(table.columns)}")
    # A first line that names an image is no header, even if its label could be the name of a column.
    others = [name for name in table.columns if name and name not in by_name]
    headless = table.first is not None and None in by_name and len(table.columns) > 1 and not requested
    if headless and any(map(is_image, others)) and not _is_numbered(path, table):
        table, by_name = without_header(table), (None, None)
    name_column = columns.path or by_name[0] or _column_of_images(table, is_image, by_name[1])
    label_column = columns.label or (by_name[1] if by_name[1] != name_column else None)
    if name_column is not None and columns.path is None:
        others = [name for name in table.columns if name != label_column]
        cells = {name: [_name(row, name) for row in table.rows] for name in others}
        name_column = column_of_names(name_column, cells, is_image)
    groups = {first_of(GROUPS, table.columns), columns.group}
    rest = [name for name in table.columns if name not in {name_column, label_column, *groups}]
    if name_column is None and label_column is not None and len(rest) == 1:
        name_column = rest.pop()
    if label_column is None and name_column is not None and len(rest) == 1:
        label_column = rest.pop()
    if label_column is None and name_column is not None and (labelled := from_one_hot(table, rest)):
        return name_column, LABEL, labelled
    if name_column is None or label_column is None:
        missing = " and ".join(
            kind for kind, column in (("path", name_column), ("label", label_column)) if column is None
        )
        if set(table.columns) >= OF_COCO:
            raise DataError(
                f"{path} holds COCO annotations of objects, which are not read; write a table with the "
                "columns path and label"
            )
        listed = f"its columns are {_listed(table.columns)}" if table.columns else "it is empty"
        header = ", or make path,label the first line" if table.first is not None else ""
        raise DataError(
            f"{path} has no column {missing}: {listed}; name the columns with `path_column` and "
            f"`label_column`{header}"
        )
    return name_column, label_column, table


def _label_column(columns: Sequence[str]) -> str | None:
    """Return the label column by its name; ``y`` is not one if there is a column ``x``."""
    known = {folded(name) for name in columns}
    return first_of([name for name in LABELS if name != "y" or "x" not in known], columns)


def _are_numbers(requested: Sequence[str], table: Table) -> bool:
    """Whether columns of a text file are requested by their numbers, from 1, as it has no header."""
    return table.first is not None and all(name.isdecimal() for name in requested)


def column_of_names(chosen: str, cells: Mapping[str, Sequence[str]], is_image: Callable[[str], bool]) -> str:
    """Return `chosen`, a column of paths by its name; if it holds whole numbers, a column of file names.

    Numbers of rows, as of an index, may also be the names of images without their ending: 7 of 7.png. Another
    column is taken instead if its name says so, and it holds a different file with an ending in each row.

    Parameters
    ----------
    chosen : str
        Name of the column.
    cells : mapping of str to sequence of str
        The cells of each column that may be the one.
    is_image : callable
        Whether a text is the name of an image.
    """

    def sample(column: str) -> list[str]:
        return [cell.strip() for cell in cells.get(column, ())[:SAMPLED]]

    if not all(cell.isdecimal() for cell in sample(chosen) if cell):
        return chosen
    for column in cells:
        found = sample(column)
        if (
            any(word in folded(column) for word in OF_FILES)
            and all(ENDING.search(cell) and is_image(cell) for cell in found)
            and len(set(found)) == len(found) > 0
        ):
            return column
    return chosen


def _is_numbered(path: Path, table: Table) -> bool:
    """Whether the first line numbers the columns from 0, as pandas does if they have no names.

    Raises
    ------
    DataError
        If it could as well be a row: the first image, of class 1.
    """
    indexed = table.columns[0] == "" and len(table.columns) > 1
    columns = table.columns[indexed:]
    if columns != [str(number) for number in range(len(columns))]:
        return False
    below = [_name(row, columns[0]) for row in table.rows]
    if not below or indexed or "0" in below or not all(cell.isdecimal() for cell in below):
        return True
    if below[0] == "1":  # the first image is followed by the second
        return False
    raise DataError(
        f"{path}: the first line {','.join(columns)} may be a header or a row; if it is a row, add "
        "path,label above it; if a header, name the columns with `path_column` and `label_column`"
    )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(printable(name)[:50] for name in columns[:20]) + (", ..." if len(columns) > 20 else "")


def _column_of_images(table: Table, is_image: Callable[[str], bool], labels: str | None) -> str | None:
    """Return the column in which most of the first cells name images, `labels` only if no other does."""
    sample = [row for row in table.rows[:SAMPLED] if any(row.cells.values())]
    for column in sorted(table.columns, key=lambda name: name == labels):
        cells = [cell for row in sample if (cell := _name(row, column))]
        if cells and sum(map(is_image, cells)) > len(cells) / 2:
            return column
    return None


def settle(votes: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[Problem]]:
    """Return the label of each image by majority vote, and the conflicts; ties stay unlabelled.

    Parameters
    ----------
    votes : iterable of (str, str)
        Image names and labels; a name may occur several times.
    """
    tally: dict[str, Counter[str]] = {}
    for name, label in votes:
        tally.setdefault(name, Counter())[label] += 1
    labels, differ, undecided = {}, [], 0
    for name, counts in tally.items():
        (best, most), *others = counts.most_common()
        if others:
            differ.append(name)
        if others and others[0][1] == most:
            undecided += 1
        else:
            labels[name] = best
    if not differ:
        return labels, []
    listed = [f"{name} ({', '.join(sorted(tally[name]))})" for name in differ]
    message = (
        f"{counted(len(differ), 'image has', 'images have')} conflicting labels: {examples(listed)}; the "
        f"most frequent label is used; on a tie the image is unlabelled ({counted(undecided, 'image')})"
    )
    return labels, [Problem("conflicting-labels", len(differ), tuple(differ), message)]
