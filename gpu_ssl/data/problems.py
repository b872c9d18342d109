"""What is wrong with images and labels of the user's own, by kind."""

from collections.abc import Sequence
from dataclasses import dataclass

NAMED = 3
"""Names that a message gives as examples."""


@dataclass(frozen=True)
class Problem:
    """Something that the user should know of.

    Parameters
    ----------
    kind : str
        One word for the kind, such as ``unreadable``; the documentation of ``gpu-ssl check`` lists all.
    count : int
        How many images, files, labels or classes it concerns.
    paths : tuple of str
        Their names, all of them, where they have any.
    message : str
        One line for the user.
    """

    kind: str
    count: int
    paths: tuple[str, ...]
    message: str


def examples(names: Sequence[str]) -> str:
    """Return the first few of some names, as a message lists them."""
    return ", ".join(map(printable, names[:NAMED])) + (", ..." if len(names) > NAMED else "")


def printable(name: str) -> str:
    """Return a name with escapes for what no line of a terminal or JSON file can hold."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, ``1 image`` or ``2 images``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
