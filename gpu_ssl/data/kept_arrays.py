"""Cached arrays: an ``.npy`` file, and a JSON file of notes next to it with a checksum of every block."""

import logging
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_ssl.errors import StorageError
from gpu_ssl.records import Record
from gpu_ssl.runtime import state
from gpu_ssl.runtime.cache import mark_used
from gpu_ssl.runtime.files import atomic_path
from gpu_ssl.runtime.memory_map import release

logger = logging.getLogger(__name__)

BLOCK_BYTES = 16 * 2**20
"""Number of bytes per checksum, at least one row."""

AGAIN = "it is made again"


class Notes(Record):
    """Notes on a cached array: its file name, and the CRC-32 of every block.

    The file name is a hash of everything that determines the array, so swapped files are detected.
    """

    name: str
    sums: tuple[int, ...]


Own = TypeVar("Own", bound=Notes)


@contextmanager
def written(
    path: Path, shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[tuple[Callable[[NDArray[Any]], None], list[int]]]:
    """Yield a function that appends rows to a new array file, and a list that gets its checksums at the end.

    Rows that are not written are 0.
    """
    sums: list[int] = []
    with atomic_path(path, devices=False) as temporary:
        begin = np.lib.format.open_memmap(temporary, "w+", dtype, shape).offset
        _reserve(temporary)
        # Written, not mapped: pages written to a memory map count as memory of the process.
        with temporary.open("r+b") as file:
            file.seek(begin)
            yield lambda rows: _write(file, rows), sums
        sums += sums_of(np.load(temporary, mmap_mode="r"))


def kept(path: Path, kind: state.Kind[Own], shape: tuple[int, ...], dtype: DTypeLike) -> Own | None:
    """Return the notes of a cached array if both files are valid; log damaged files and return None."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        notes, _ = state.load(beside, kind)
        if notes.name != path.name:
            raise StorageError(f"{beside} belongs to another file; {kind.remedy}")
        if notes.sums:
            array = mapped(path)
            if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
                raise StorageError(f"{path} is damaged: it holds another array; {kind.remedy}")
            if sums_of(array) != list(notes.sums):
                raise StorageError(f"{path} is damaged: its checksums differ; {kind.remedy}")
    except StorageError as error:
        logger.info("%s", error)
        return None
    except (OSError, EOFError, TypeError, ValueError) as error:
        logger.info("%s is damaged: %s; %s", path, state.reason_of(error), kind.remedy)
        return None
    mark_used(beside, *([path] if notes.sums else []))
    return notes


def mapped(path: Path) -> NDArray[Any]:
    """Return an array as a memory map."""
    # Copy on write, because torch shares memory only with writable arrays; nothing is written.
    array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return array


def sums_of(array: NDArray[Any]) -> list[int]:
    """Return the CRC-32 of every block of a C-contiguous array (n, ...)."""
    rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    sums = []
    for start in range(0, len(array), rows):
        sums.append(zlib.crc32(array[start : start + rows].data))
        release(array)
    return sums


def _write(file: Any, rows: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(rows).data)


def _reserve(path: Path) -> None:
    """Allocate the space of a sparse file, so that a full disk is noticed before the work."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def version_of(file: os.stat_result) -> str:
    """Return what changes if a file is written or replaced, even by one of its size and date."""
    return f"{file.st_size} {file.st_mtime_ns} {file.st_ctime_ns} {file.st_ino}"
