"""Messages on a terminal: one line each, with control characters escaped."""

import logging
import os
import sys
from typing import Final, TextIO

import click

from gpu_ssl.cli.wording import as_options
from gpu_ssl.data.problems import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of cells that a spreadsheet takes for formulas."""


COLOURS: Final = {"error:": "red", "warning:": "yellow"}
"""Colours of the program's name before such messages on a terminal."""


def print_message(message: str, *, warns: bool = False) -> None:
    """Write a message to stderr, as one line with the name of the program; `warns`: in that colour."""
    line = line_of(as_options(message))
    colour = COLOURS["warning:"] if warns else COLOURS.get(line.partition(" ")[0])
    name = click.style("gpu-ssl:", fg=colour) if colour and _shows_colours() else "gpu-ssl:"
    click.echo(f"{name} {line}", err=True)


def _shows_colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_item(line: str) -> None:
    """Write one line of a list to stderr, below a message."""
    click.echo(f"  {line_of(as_options(line))}", err=True)


def show(line: str) -> None:
    """Write a line of the result to stdout."""
    click.echo(line_of(line))


def line_of(text: str) -> str:
    """Return a text as one line, with control characters escaped."""
    return printable(" ".join(text.split("\n")))


class Worded(logging.Formatter):
    """Words what the library logs for the command line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the message with the settings that it names as options."""
        return as_options(super().formatMessage(record))


class OnTerminal:
    """Stdout on a terminal: control characters in names are escaped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; of its control characters, only line ends are kept."""
        return self._stream.write("\n".join(map(printable, text.split("\n"))))

    def writelines(self, lines: "list[str]") -> None:
        """Write several texts."""
        for text in lines:
            self.write(text)


def stdout_of_names() -> TextIO:
    """Return stdout for output that contains file names: escaped on a terminal, raw elsewhere."""
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    return OnTerminal(sys.stdout) if sys.stdout.isatty() else sys.stdout  # type: ignore[return-value]


def no_formula(cell: object) -> object:
    """Return a cell of a table, with ' before what a spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
