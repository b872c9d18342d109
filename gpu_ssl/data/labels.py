"""Normalizing labels, recognizing missing ones, and finding class names that may mean the same class."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from gpu_ssl.data.problems import Problem, counted, examples

# fmt: off
NO_CLASS = frozenset((
    "unlabelled", "unlabeled", "unlabel", "unlab", "unsup", "unsupervised", "unknown", "unassigned",
    "undefined", "not labelled", "not labeled", "no label", "nolabel", "todo",
))
# fmt: on
"""Labels and folder names that mean unlabelled."""

EMPTY = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "#n/a", "nil", "?", "-"})
"""Texts that programs write for a missing value."""

WHOLE = re.compile(r"-?(0|[1-9][0-9]*)(\.0*)?")
"""A whole number as programs write it; 001 is a name."""


def is_no_label(label: object) -> bool:
    """Whether a value means a missing label: None, NaN, -1, an empty text or a word such as unknown."""
    if label is None:
        return True
    if isinstance(label, float) and math.isnan(label):
        return True
    word = str(label).strip().casefold()
    return word in EMPTY or is_no_class(word) or _as_number(word) == -1


def _are_several(name: str, classes: Collection[str]) -> bool:
    """Whether a name looks like several: with bars or semicolons, or with commas if a part is a class."""
    parts = [part.strip() for part in re.split("[|;]", name)]
    listed = [part.strip() for part in re.split("[|;,/+&]", name)]
    return (len(parts) > 1 and all(parts)) or (len(listed) > 1 and any(part in classes for part in listed))


def is_no_class(name: str) -> bool:
    """Whether a label or folder name means unlabelled."""
    return name.strip().casefold().replace("_", " ").replace("-", " ") in NO_CLASS


def named(
    values: Iterable[object], write: Callable[[Any], str], start: int = 0
) -> tuple[dict[str, str], Counter[str]]:
    """Return the labels of images by position, and how often each word was read as a missing label.

    Parameters
    ----------
    values : iterable
        Value for each image, such as a number, a word or None.
    write : callable
        Converts a value that is not missing to a label.
    start : int
        Position of the first image.
    """
    labels: dict[str, str] = {}
    nothing: Counter[str] = Counter()
    for i, value in enumerate(values, start):
        if value is None or (not isinstance(value, str) and is_no_label(value)):
            continue
        label = write(value)
        if not is_no_label(label):
            labels[str(i)] = label
        elif label:
            nothing[label] += 1
    return labels, nothing


def clean(label: str) -> str:
    """Return a label without surrounding white space, in Unicode normalization form C."""
    return unicodedata.normalize("NFC", label.strip())


def unify_numbers(labels: Iterable[str]) -> dict[str, str]:
    """Return a mapping such as 1.0 to 1 if all labels are whole numbers, else an empty mapping.

    Programs write whole numbers as 1.0 if the column has missing values.
    """
    different = set(labels)
    if not all(map(WHOLE.fullmatch, different)):
        return {}
    return {label: label.partition(".")[0].replace("-0", "0") for label in different}


def _as_number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def class_problems(
    counts: Mapping[str, int], taken_as_none: Mapping[str, int] | None = None
) -> list[Problem]:
    """Return the suspicious class names: nearly equal ones, and words that may mean a missing label.

    Parameters
    ----------
    counts : mapping of str to int
        Number of labelled images per class.
    taken_as_none : mapping of str to int, optional
        How often each word was read as a missing label.
    """
    problems = []
    if taken_as_none:
        words = sorted(taken_as_none)
        total = sum(taken_as_none.values())
        problems.append(
            Problem(
                "suspicious-class",
                total,
                (),
                f"{counted(total, 'label is', 'labels are')} treated as missing: "
                f"{examples([repr(word) for word in words])}",
            )
        )
    if several := [name for name in sorted(counts) if _are_several(name, counts)]:
        message = f"class names that look like several labels: {examples([repr(name) for name in several])}"
        problems.append(Problem("suspicious-class", len(several), (), message))
    doubtful = [name for name in sorted(counts) if is_no_label(name)]
    if doubtful:
        listed = examples([repr(name) for name in doubtful])
        message = f"class names that may mean a missing label: {listed}"
        problems.append(Problem("suspicious-class", len(doubtful), (), message))
    alike: dict[str, list[str]] = {}
    for name in sorted(counts):
        number = _as_number(name)
        key = f"{number:g}" if number is not None else "".join(filter(str.isalnum, name.casefold()))
        alike.setdefault(key or name, []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = " and ".join(f"{name!r} ({counts[name]:,})" for name in names)
            problems.append(
                Problem("suspicious-class", len(names), (), f"classes that may be the same: {listed}")
            )
    return problems
