"""Progress reporting, independent of the display."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Reports progress of a task."""

    def __call__(self, note: str, steps: float = 1) -> None:
        """Report that `steps` more steps, or a fraction of one, are done, with a short or empty note."""


class Progress(Protocol):
    """A display for tasks of a known number of steps."""

    def task(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Show a task of `total` steps, of which `done` are finished, during the block."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda note, steps=1: None


SILENT = Silent()
