"""Problems found in a user's images and labels, and helpers to word them."""

from collections.abc import Sequence
from dataclasses import dataclass

NAMED = 3
"""Maximum number of names listed as examples in a message."""


@dataclass(frozen=True)
class Problem:
    """A problem to report to the user.

    Parameters
    ----------
    kind : str
        Identifier of the kind, such as ``unreadable``; the documentation of ``gpu-ssl check`` lists all.
    count : int
        Number of affected images, files, labels or classes.
    paths : tuple of str
        Names of all affected images or files, if they have names.
    message : str
        One line for the user.
    groups : tuple of tuple of str
        The same names by group, if they belong together, such as an image and its duplicates.
    """

    kind: str
    count: int
    paths: tuple[str, ...]
    message: str
    groups: tuple[tuple[str, ...], ...] = ()


def examples(names: Sequence[str]) -> str:
    """Return the first few names, joined for a message."""
    return ", ".join(map(printable, names[:NAMED])) + (", ..." if len(names) > NAMED else "")


def printable(name: str) -> str:
    """Return a name with unprintable characters escaped."""
    return name if name.isprintable() else "".join(map(_escaped, name))


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    # A byte of a file name that is not UTF-8.
    is_byte = "\udc80" <= letter <= "\udcff"
    return f"\\x{ord(letter) - 0xDC00:02x}" if is_byte else letter.encode("unicode_escape").decode()


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 image`` or ``2 images``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
