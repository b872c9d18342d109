"""Labels as JSON: lists of objects, objects by path or by class, JSON lines, exports of Label Studio."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_ssl.errors import DataError


def json_objects(text: str, path: Path) -> list[dict[str, Any]]:
    """Return one object for each label in a file of JSON, or of JSON lines.

    Raises
    ------
    DataError
        If it holds no such objects.
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
        raise DataError(f"{path} is JSON, but no list of objects with a path and a label each")
    return [flat for entry in content for flat in _flattened(entry)]


def _of_object(content: dict[str, Any]) -> list[Any]:
    """Return what a single object holds, as a list of objects."""
    values = list(content.values())
    if values and all(not isinstance(value, dict | list) for value in values):
        return [{"path": name, "label": label} for name, label in content.items()]
    if values and all(_is_words(value) for value in values):  # images by class, or labels by image
        return [{"1": name, "2": each} for name, value in content.items() for each in value]
    if len(values) > 1 and all(isinstance(value, dict) for value in values):
        if all(value.keys() == values[0].keys() for value in values) and "path" not in values[0]:
            # Columns, as pandas writes them.
            return [{name: column[row] for name, column in content.items()} for row in values[0]]
        return [{"path": name, **value} for name, value in content.items()]
    lists = [value for value in values if isinstance(value, list) and value]
    if len(lists) == 1 and all(isinstance(entry, dict) for entry in lists[0]):
        return lists[0]
    return [content]


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _json_lines(text: str, path: Path, whole: ValueError) -> list[Any]:
    found = []
    # Not splitlines: JSON may hold what Unicode counts as ends of lines.
    for number, line in enumerate(text.split("\n"), 1):
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
        results = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(results, list) or annotation.get("was_cancelled"):
            continue
        for result in results:
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict) and "choices" in value:
                yield {**data, "choice": value}


def cell_of(value: Any, where: str) -> str:
    """Return a value of JSON as text; of choices that a labelling tool writes, the one that was made.

    Raises
    ------
    DataError
        If several choices were made.
    """
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = value["choices"]
    if isinstance(value, list):
        if len(value) > 1 and all(isinstance(each, str) for each in value):
            raise DataError(f"{where}: {value} are several labels; an image can have one")
        value = value[0] if len(value) == 1 else None
    if value is None or isinstance(value, dict):
        return ""
    return str(value)


def choice_in(cell: str, where: str) -> str:
    """Return a label that a labelling tool wrote as JSON into a cell of a table; other cells as they are.

    Raises
    ------
    DataError
        If the cell holds several labels.
    """
    if not cell.startswith(('{"', '["')):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return cell_of(value, where)
