"""Tables with a column for each class, which holds 1 for its images and 0 for the others."""

from collections.abc import Sequence

from gpu_ssl.data.label_tables import Row, Table
from gpu_ssl.data.problems import Problem, examples
from gpu_ssl.errors import DataError

LABEL = "label"
"""Name of the column that is made."""

SET, UNSET = frozenset({"1", "1.0", "true"}), frozenset({"", "0", "0.0", "false"})


def from_one_hot(table: Table, columns: Sequence[str]) -> Table | None:
    """Return a table with labels, the names of the columns that hold 1; None if these are no such columns.

    A row of zeros has no label.

    Parameters
    ----------
    table : Table
        The table, which has no column named `LABEL`.
    columns : sequence of str
        Columns that may be those of the classes.

    Raises
    ------
    DataError
        If a row has several classes, where most have one.
    """
    rows = [[row.cells.get(name, "").strip().lower() for name in columns] for row in table.rows]
    if not all(cell in SET | UNSET for cells in rows for cell in cells):
        return None
    found = [[name for name, cell in zip(columns, cells, strict=True) if cell in SET] for cells in rows]
    if len({name for names in found for name in names}) < 2 or 2 * sum(map(_is_one, found)) <= len(found):
        return None
    for row, names in zip(table.rows, found, strict=True):
        if len(names) > 1:
            raise DataError(
                f"{row.where}: expected one label per image, got {len(names)}: {', '.join(names)}"
            )
    message = f"labels are the names of the columns that hold 1, of {examples(columns)}"
    labelled = [
        Row(row.where, {**row.cells, LABEL: names[0] if names else ""})
        for row, names in zip(table.rows, found, strict=True)
    ]
    problems = [*table.problems, Problem("columns", len(columns), tuple(columns), message)]
    return table._replace(columns=[*table.columns, LABEL], rows=labelled, problems=problems)


def _is_one(names: Sequence[str]) -> bool:
    return len(names) == 1
