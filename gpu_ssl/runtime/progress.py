"""How long work tells that it advances, without knowing whether anybody watches."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells of what is done."""

    def __call__(self, note: str, steps: float = 1) -> None:
        """Tell that so many steps, or such a part of one, are done, with a short note (or an empty one)."""


class Progress(Protocol):
    """A display for tasks of a known number of steps."""

    def task(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Show a task of `total` steps, `done` of which are finished, for as long as the block runs."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda note, steps=1: None


SILENT = Silent()
