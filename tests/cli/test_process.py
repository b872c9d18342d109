"""What the system gives the program: a limit of memory that was reached is recognized, whatever failed."""

import resource
import subprocess
import sys

import pytest

from gpu_ssl.cli.process import reached_memory_limit

CODE = """
import mmap, resource
from gpu_ssl.cli.process import SPARE_MEMORY, reached_memory_limit
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 4 * SPARE_MEMORY, resource.RLIM_INFINITY))
held = mmap.mmap(-1, int({share} * SPARE_MEMORY))
held.close()  # what failed may have given its memory back by now
print(reached_memory_limit())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
@pytest.mark.parametrize(("share", "reached"), [(1, False), (3.5, True)])
def test_a_limit_of_memory_that_was_reached_is_recognized(share: float, reached: bool) -> None:
    """A C library may report a small allocation that failed as an error of any kind."""
    code = CODE.format(share=share)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(reached)


def test_without_a_limit_no_error_is_blamed_on_it() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert not reached_memory_limit()


def test_the_reserve_is_freed_before_an_error_is_reported() -> None:
    """In a process without any memory left CPython raises a SystemError where an error is handled."""
    code = (
        "from gpu_ssl import cli\n"
        "def fails(**_): print(len(cli.RESERVE) > 2**20); raise RuntimeError\n"
        "cli.main, cli._fail = fails, lambda *_: print(len(cli.RESERVE))\n"
        "cli.entry_point([])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "0"]
