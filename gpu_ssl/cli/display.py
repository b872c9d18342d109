"""Terminal output of the commands: progress on stderr, results on stdout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from gpu_ssl.runtime.progress import Advance, Progress, Silent

PIPE_WIDTH = 120
"""Width of a table written to a pipe or file."""


class TerminalProgress:
    """Progress bars on stderr, removed when their task is finished."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        """Show a bar during the block."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        )
        with Bars(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(description, total=total, completed=done, note="")
            yield lambda note, steps=1: bars.update(task, advance=steps, note=note)


def make_progress(quiet: bool) -> Progress:
    """Return progress bars if stderr is a terminal and `quiet` is false, else a silent display."""
    return TerminalProgress() if sys.stderr.isatty() and not quiet else Silent()


class _ResultConsole(Console):
    """Lets the program handle a closed pipe; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console() -> Console:
    """Return the console for results: stdout, without colours or line wrapping in a pipe."""
    return _ResultConsole(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
