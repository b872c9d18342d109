"""Labels in JSON: lists of objects, objects keyed by path or class, JSON lines, Label Studio exports."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_ssl.data.label_columns import LABELS, PATHS, first_of
from gpu_ssl.data.problems import Problem
from gpu_ssl.errors import DataError

NAMES = ("name", "label", "class", "value", "title")
"""Keys of the name of a class in an object that describes it, preferred first."""

UNSEEN = "without annotations"

SHOWN = 80
"""Maximum number of characters of a value in a message."""


def json_objects(text: str, path: Path) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return one object per label in a JSON or JSON lines file, and the problems found.

    Raises
    ------
    DataError
        If the file holds no such objects.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply") from error
    except ValueError as error:
        content = _json_lines(text, path, error)
    if isinstance(content, dict):
        content = _of_object(content)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{path}: expected a JSON list of objects, each with a path and a label")
    left_out: Counter[str] = Counter()
    rows = [row for entry in content for row in _rows_of(entry, left_out)]
    if rows:
        del left_out[UNSEEN]  # usual where few images are labelled
    if not left_out:
        return rows, []
    listed = ", ".join(f"{count:,} {kind}" for kind, count in left_out.items())
    if not rows:
        raise DataError(f"{path} has no choices, the annotations of Label Studio that are labels: {listed}")
    message = f"{path}: only choices are read as labels, left out: {listed}"
    return rows, [Problem("columns", left_out.total(), (), message)]


def _of_object(content: dict[str, Any]) -> list[Any]:
    """Return the entries of a JSON object as a list of objects."""
    values = list(content.values())
    names = [str(name) for name in content]
    labels = first_of(LABELS, names)
    columns = "path" in content or (first_of(PATHS, names) is not None and labels is not None)
    if values and not columns and all(not isinstance(value, dict | list) for value in values):
        return [{"path": name, "label": label} for name, label in content.items()]
    by_class = labels is not None and _are_files(content[labels])
    if columns and not by_class and _are_columns(values):  # as pandas writes lists
        return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]
    if values and all(_is_words(value) for value in values):  # images by class, or labels by image
        return [{"1": name, "2": each} for name, value in content.items() for each in value]
    if len(values) > 1 and all(isinstance(value, dict) for value in values):
        alike = all(value.keys() == values[0].keys() for value in values)
        if alike and (columns or all(row.isdecimal() for row in values[0])):
            # An object of columns, as pandas writes it, whose rows are numbered.
            return [{name: column[row] for name, column in content.items()} for row in values[0]]
        return [{"path": name, **value} for name, value in content.items()]
    lists = [value for value in values if isinstance(value, list) and value]
    if len(lists) == 1 and all(isinstance(entry, dict) for entry in lists[0]):
        return lists[0]
    if isinstance(given := content.get("labels"), dict):  # FiftyOne, with the names of the classes
        classes = content.get("classes")
        return [{"path": name, "label": _class_of(label, classes)} for name, label in given.items()]
    return [content]


def _class_of(label: Any, classes: Any) -> Any:
    """Return the name of the class with a number, if there are names."""
    named = isinstance(classes, list) and isinstance(label, int) and 0 <= label < len(classes)
    return classes[label] if named else label


def _are_columns(values: list[Any]) -> bool:
    """Whether values are lists of one length."""
    return all(isinstance(value, list) and len(value) == len(values[0]) for value in values)


def _are_files(value: object) -> bool:
    return _is_words(value) and all("." in str(name)[-5:-1] for name in value)  # type: ignore[attr-defined]


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _json_lines(text: str, path: Path, whole: ValueError) -> list[Any]:
    found = []
    # Not splitlines: JSON strings may contain characters that Unicode treats as line ends.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                problem = whole if number == 1 else error
                raise DataError(f"{path}, line {number}: not JSON: {problem}") from error
    return found


def _rows_of(task: dict[str, Any], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield one row per choice in a Label Studio task, and any other object unchanged.

    Count what else a task contains in `left_out`, by kind.
    """
    data = task.get("data")
    if not isinstance(data, dict):
        yield task
        return
    annotations = task.get("annotations", task.get("completions", []))
    annotations = annotations if isinstance(annotations, list) else []
    if not annotations:
        left_out[UNSEEN] += 1
    for annotation in annotations:
        results = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(results, list) or annotation.get("was_cancelled"):
            left_out["cancelled"] += 1
            continue
        if not results:
            left_out["empty"] += 1
        for result in results:
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict) and "choices" in value:
                yield {**data, "choice": value}
            else:
                kind = result.get("type") if isinstance(result, dict) else None
                left_out[f"of type {str(kind)[:SHOWN]}"] += 1


def cell_of(value: Any) -> str:
    """Return a JSON value as text: of an object its name or label, of several values JSON."""
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = value["choices"]
    if isinstance(value, list):
        if len(value) > 1:
            return json.dumps(value)
        value = value[0] if value else None
    if isinstance(value, dict):
        value = next((value[key] for key in NAMES if isinstance(value.get(key, []), str | int | None)), value)
    if isinstance(value, dict):
        return json.dumps(value) if value else ""
    return "" if value is None else str(value)


def choice_in(cell: str, where: str) -> str:
    """Return the label in a table cell that a labelling tool wrote as JSON; other cells unchanged.

    Raises
    ------
    DataError
        If the cell holds several labels, or an object without a name.
    """
    if not cell.startswith(('{"', "[")):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = value["choices"]
    label = cell_of(value)
    if isinstance(value, dict) and label.startswith("{"):
        raise DataError(f"{where}: expected a label, got the object {_shown(label)}")
    if isinstance(value, list) and len(value) > 1:
        raise DataError(f"{where}: expected one label per image, got {len(value):,}: {_shown(label)}")
    return label


def _shown(cell: str) -> str:
    return cell if len(cell) <= SHOWN else f"{cell[:SHOWN]} ..."
