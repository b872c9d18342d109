"""Wall-clock times of named phases, taken after the device has finished its work."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gpu_ssl.runtime.device import synchronize


class Stopwatch:
    """Adds up the seconds spent in each named phase on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._start = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the enclosed block to phase `name`."""
        synchronize(self.device)
        start = time.perf_counter()
        try:
            yield
        finally:
            synchronize(self.device)
            self.seconds[name] += time.perf_counter() - start

    def total(self) -> float:
        """Seconds since this stopwatch was made."""
        return time.perf_counter() - self._start
