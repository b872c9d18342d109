"""What counts as a label: the words for none, and how labels that are written differently become one."""

import math
import unicodedata
from collections.abc import Iterable, Mapping

from gpu_ssl.data.problems import Problem, counted, examples

# fmt: off
NO_CLASS = frozenset((
    "unlabelled", "unlabeled", "unlabel", "unlab", "unsup", "unsupervised", "unknown", "unassigned",
    "undefined", "not labelled", "not labeled", "no label", "nolabel", "todo",
))
# fmt: on
"""Words for images that nobody has labelled, of folders too."""

EMPTY = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "#n/a", "nil", "?", "-"})
"""What programs write where there is nothing."""


def is_no_label(label: object) -> bool:
    """Whether something says that there is no label: nothing, NaN, -1, or a word for it."""
    if label is None:
        return True
    if isinstance(label, float) and math.isnan(label):
        return True
    word = str(label).strip().casefold()
    return word in EMPTY or is_no_class(word) or _as_number(word) == -1


def is_no_class(name: str) -> bool:
    """Whether a name is a word for images that nobody has labelled."""
    return name.strip().casefold().replace("_", " ").replace("-", " ") in NO_CLASS


def clean(label: str) -> str:
    """Return a label without white space around it, in Unicode's composed form."""
    return unicodedata.normalize("NFC", label.strip())


def unify_numbers(labels: Iterable[str]) -> dict[str, str]:
    """Return what labels are to become if all of them are whole numbers, however written; else nothing.

    Programs that read a column of whole numbers with gaps write it as 1.0.
    """
    different = set(labels)
    numbers = {label: _as_number(label) for label in different}
    if not all(number is not None and number.is_integer() for number in numbers.values()):
        return {}
    return {label: str(int(number)) for label, number in numbers.items() if number is not None}


def _as_number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def class_problems(
    counts: Mapping[str, int], taken_as_none: Mapping[str, int] | None = None
) -> list[Problem]:
    """Return what looks wrong about classes: names that are nearly the same, and words for no label.

    Parameters
    ----------
    counts : mapping of str to int
        Labelled images of each class.
    taken_as_none : mapping of str to int, optional
        How often each word stood for no label.
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
                f"{counted(total, 'label')} {'says' if total == 1 else 'say'} "
                f"{examples([repr(word) for word in words])}, which is taken as no label",
            )
        )
    alike: dict[str, list[str]] = {}
    for name in sorted(counts):
        number = _as_number(name)
        key = f"{number:g}" if number is not None else "".join(filter(str.isalnum, name.casefold()))
        alike.setdefault(key or name, []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = " and ".join(f"{name!r} ({counts[name]:,})" for name in names)
            problems.append(
                Problem("suspicious-class", len(names), (), f"classes that may be meant as one: {listed}")
            )
    return problems
