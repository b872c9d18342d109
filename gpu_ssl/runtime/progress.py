"""How long work tells that it advances, without knowing whether anybody watches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[str], None]
"""Called once for each finished step, with a short note about it (or an empty one)."""


class Progress(Protocol):
    """A display for tasks of a known number of steps."""

    def task(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Show a task of `total` steps, `done` of which are finished, for as long as the block runs."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda note: None


SILENT = Silent()
