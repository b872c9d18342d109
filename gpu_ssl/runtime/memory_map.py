"""Memory maps that are read once: their pages are given back."""

import mmap
from typing import Any

from numpy.typing import NDArray


def release(array: NDArray[Any]) -> None:
    """Give back the memory of what was read of a memory map; of another array, do nothing.

    A page of a file that was touched counts as memory of the process until the system needs it elsewhere.
    It is read again when it is touched again. Nothing may have been written to the array.
    """
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
