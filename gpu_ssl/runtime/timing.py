"""Wall-clock times of named phases, measured after the device has finished its work."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gpu_ssl.runtime.device import synchronize


def seconds_of_process() -> float:
    """Return for how long this process has been running, on Linux (man 5 proc); else 0."""
    try:
        started = float(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(0.0, uptime - started / os.sysconf("SC_CLK_TCK"))


class Stopwatch:
    """Adds up the seconds of each named phase on one device.

    The time of a nested phase is not counted in the outer one, so phases add up to at most the total.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._start = time.perf_counter()
        self._running: list[str] = []
        self._since = self._start

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the enclosed block to phase `name`."""
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def _turn(self) -> None:
        """Add the time since the last change to the current phase."""
        synchronize(self.device)
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def total(self) -> float:
        """Seconds since this stopwatch was created."""
        return time.perf_counter() - self._start
