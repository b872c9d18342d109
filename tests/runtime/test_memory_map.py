"""Pages of a memory map count as memory of the process until they are given back."""

import sys
from pathlib import Path

import numpy as np
import pytest

from gpu_ssl.runtime.memory_map import release

MIB = 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory this process has")
def test_what_was_read_is_given_back_and_can_be_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(64 * MIB, dtype=np.uint8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="c")
    view = mapped.reshape(64, -1)[1:, None]
    before = resident_bytes()
    total = int(view.sum())
    assert resident_bytes() - before > 48 * MIB
    release(view)
    assert resident_bytes() - before < 16 * MIB
    assert int(view.sum()) == total


def test_an_array_in_memory_is_left_alone() -> None:
    array = np.arange(1000)
    release(array[3:])
    assert array.sum() == 499_500
