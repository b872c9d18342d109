"""The files that name the classes of the few images that carry a label."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpu_ssl.data.label_json import choice_in
from gpu_ssl.data.label_tables import Row, Table, read_table, text_of, without_header
from gpu_ssl.data.labels import clean, is_no_label, unify_numbers
from gpu_ssl.data.problems import Problem, counted, examples, printable
from gpu_ssl.errors import DataError, UsageError

# fmt: off
PATHS = (
    "path", "file_path", "filepath", "image_path", "img_path", "file_name", "filename", "file", "image_name",
    "image_file", "imagename", "image", "img", "photo", "picture", "image_id", "img_id", "imageid", "name",
    "position", "index", "row", "id", "uid", "key", "url",
)
LABELS = (
    "label", "labels", "class", "class_name", "classname", "class_label", "category", "category_name",
    "target", "breed", "species", "diagnosis", "dx", "choice", "choices", "tag", "fine_label", "coarse_label",
    "y",
)
GROUPS = (
    "group", "group_id", "scene", "scene_id", "patient", "patient_id", "subject", "subject_id", "burst",
    "burst_id", "sequence", "sequence_id", "video", "video_id",
)
# fmt: on
"""Names of columns, the best first; in any case, and with spaces or hyphens in place of ``_``."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that the user gives; None where they are to be found by their usual names."""

    path: str | None = None
    label: str | None = None
    group: str | None = None


NO_COLUMNS = Columns()


def first_of(names: Iterable[str], columns: Sequence[str]) -> str | None:
    """Return the column with the first of some names that there is."""
    known = {_folded(column): column for column in reversed(columns)}
    return next((known[name] for name in names if name in known), None)


def _folded(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


@dataclass
class GivenLabels:
    """The rows of label files that hold a label or a group, in order.

    Attributes
    ----------
    rows : list of (str, str, str, str)
        Where each stands, the name of its image, its label and its group; empty where it has none.
    taken_as_none : Counter of str
        Words that stand for no label.
    problems : list of Problem
        What is to be told of the files.
    """

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    taken_as_none: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


def read_labels(paths: Sequence[Path], columns: Columns, is_image: Callable[[str], bool]) -> GivenLabels:
    """Read files of labels; see `data.label_tables.read_table` for their formats.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    columns : Columns
        What the user says of the columns.
    is_image : callable
        Whether a name is that of an image; finds the column of paths where no header tells it.

    Raises
    ------
    UsageError, DataError
        If a file cannot be read, holds no such columns, or no label.
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
            message = f"labels that are whole numbers count as such: {listed}"
            given.problems.append(Problem("suspicious-class", len(changed), (), message))
    return given


def _read(path: Path, columns: Columns, is_image: Callable[[str], bool], given: GivenLabels) -> None:
    table = read_table(path)
    name_column, label_column, table = _choose_columns(path, table, columns, is_image)
    group_column = columns.group or first_of(GROUPS, table.columns)
    for column in (name_column, label_column, group_column):
        if f"{column} (2)" in table.columns:
            raise DataError(f"{path} has several columns {column!r}; rename or delete all but one")
    others = [name for name in table.columns if name != label_column and _folded(name) in LABELS]
    if others and not columns.label:
        message = f"{path}: the labels are in column {label_column!r}, not in {examples(others)}; "
        given.problems.append(Problem("columns", len(others), (), message + "`label_column` names another"))
    found = 0
    for row in table.rows:
        label = clean(choice_in(text_of(row.cells.get(label_column, "")).strip(), row.where))
        if is_no_label(label):
            if label:
                given.taken_as_none[label] += 1
            label = ""
        group = text_of(row.cells.get(group_column, "")).strip() if group_column else ""
        found += bool(label)
        if _name(row, name_column):
            given.rows.append((row.where, row.cells[name_column], label, group))
        elif label:
            raise DataError(f"{row.where} has a label, {label!r}, and no {name_column}")
    if not found:
        raise DataError(f"{path} holds no label; each row is a path and its label, below a line path,label")


def _name(row: Row, column: str) -> str:
    return row.cells.get(column, "").strip()


def _choose_columns(
    path: Path, table: Table, columns: Columns, is_image: Callable[[str], bool]
) -> tuple[str, str, Table]:
    """Return the columns of paths and labels, and the table, whose first row may have been no header."""
    by_name = first_of(PATHS, table.columns), first_of(LABELS, table.columns)
    asked = [name for name in (columns.path, columns.label, columns.group) if name is not None]
    for name in asked:
        if name not in table.columns:
            raise UsageError(f"{path} has no column {name!r}; its columns are {_listed(table.columns)}")
    has_names = table.first is not None and by_name == (None, None) and len(table.columns) > 1
    if has_names and not asked and any(is_image(name) for name in table.columns if name):
        table = without_header(table)
    name_column = columns.path or by_name[0] or _column_of_images(table, is_image)
    label_column = columns.label or (by_name[1] if by_name[1] != name_column else None)
    groups = {first_of(GROUPS, table.columns), columns.group}
    rest = [name for name in table.columns if name not in {name_column, label_column, *groups}]
    if name_column is None and label_column is not None and len(rest) == 1:
        name_column = rest.pop()
    if label_column is None and name_column is not None and len(rest) == 1:
        label_column = rest.pop()
    if name_column is None or label_column is None:
        missing = " and ".join(
            kind for kind, column in (("path", name_column), ("label", label_column)) if column is None
        )
        listed = f"its columns are {_listed(table.columns)}" if table.columns else "it is empty"
        raise DataError(
            f"{path} has no column {missing}: {listed}; name them by `path_column` and `label_column`, or "
            "let the first line be path,label"
        )
    return name_column, label_column, table


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(printable(name)[:50] for name in columns[:20]) + (", ..." if len(columns) > 20 else "")


def _column_of_images(table: Table, is_image: Callable[[str], bool]) -> str | None:
    """Return the column whose first cells name images."""
    some = [row for row in table.rows[:20] if any(row.cells.values())]
    for column in table.columns:
        cells = [cell for row in some if (cell := _name(row, column))]
        if cells and sum(map(is_image, cells)) > len(cells) / 2:
            return column
    return None


def settle(votes: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[Problem]]:
    """Return the label of each image, where it has several the one that most say, and what they differ in.

    Parameters
    ----------
    votes : iterable of (str, str)
        Names of images and labels.
    """
    said: dict[str, Counter[str]] = {}
    for name, label in votes:
        said.setdefault(name, Counter())[label] += 1
    labels, differ, undecided = {}, [], 0
    for name, counts in said.items():
        (best, most), *others = counts.most_common()
        if others:
            differ.append(name)
        if others and others[0][1] == most:
            undecided += 1
        else:
            labels[name] = best
    if not differ:
        return labels, []
    listed = [f"{name} ({', '.join(sorted(said[name]))})" for name in differ]
    message = (
        f"{counted(len(differ), 'image has', 'images have')} different labels: {examples(listed)}; what most "
        f"rows say counts; {undecided:,} for which as many say each are left without a label"
    )
    return labels, [Problem("conflicting-labels", len(differ), tuple(differ), message)]
