"""The common style of tables on a terminal, for all commands; readable on narrow ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

GOOD: Final = "green"
WARN: Final = "yellow"
BAD: Final = "red"
FAINT: Final = "dim"

ENDLESS: Final = 10_000
"""Width in columns that is enough for every table."""


def new_table() -> Table:
    """Return a table without borders, which is easy to parse and needs little width."""
    return Table(box=None)


@dataclass(frozen=True)
class Shown:
    """A table that fits the terminal.

    Parameters
    ----------
    wide : Table
        The table, shown if no word has to be broken.
    tall : renderable
        The alternative for narrow terminals.
    title, caption : str
        Lines above and below; omitted if empty.
    """

    wide: Table
    tall: RenderableType
    title: str = ""
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Give rich the lines and one of the tables."""
        least = Measurement.get(console, options.update(max_width=ENDLESS), self.wide).minimum
        if self.title:
            yield Text(self.title, "bold")
        yield self.wide if least <= options.max_width else self.tall
        if self.caption:
            yield Text(self.caption, FAINT)
