"""Names for images that have only a position in a file."""

from collections.abc import Sequence
from typing import overload


class Positions(Sequence[str]):
    """The positions 0 to n - 1 as a sequence of strings, without memory for each.

    Parameters
    ----------
    n : int
        Number of images.
    """

    def __init__(self, n: int) -> None:
        self._range = range(n)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(map(str, self._range[index]))
        return str(self._range[index])

    def __contains__(self, name: object) -> bool:
        try:
            position = int(name)  # type: ignore[call-overload]
        except (TypeError, ValueError):
            return False
        return position in self._range and str(position) == name
