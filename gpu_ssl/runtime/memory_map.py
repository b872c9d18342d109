"""Memory maps that are read once, and whose pages are released."""

import mmap
from typing import Any

from numpy.typing import NDArray


def release(array: NDArray[Any]) -> None:
    """Release the memory of the pages that were read from a memory map; do nothing for other arrays.

    A page that was read counts as memory of the process until the system needs it elsewhere. It is read again
    on the next access. The array must not have been written to.
    """
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
