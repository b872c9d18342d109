"""Names of classes in the metadata that Hugging Face writes into Parquet files."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_ssl.data.labels import clean


def class_names(metadata: Mapping[bytes, bytes], column: str) -> list[str]:
    """Return the names of the classes of a column; an empty list if there are none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def class_of(names: Sequence[str], value: Any) -> str:
    """Return the name of the class with a number; any other value as text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return names[value] if is_number and 0 <= value < len(names) else clean(str(value))
