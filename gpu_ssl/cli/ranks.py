"""Errors of processes started by torchrun: each is printed once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gpu_ssl.cli.messages import print_message
from gpu_ssl.errors import GpuSslError, InterruptError

if TYPE_CHECKING:
    from gpu_ssl.runtime.ranks import Ranks

TOGETHER = ("run", "fit")
"""Commands that support several processes."""


@contextmanager
def one_tells(ranks: "Ranks") -> Iterator[None]:
    """Print the error of the first process that fails, and of no other."""
    try:
        try:
            yield
        except KeyboardInterrupt:
            raise InterruptError("interrupted") from None
    except GpuSslError as error:
        if ranks.fails_first():
            print_error(str(error))
        ranks.abandon(error.exit_code)
        raise click.exceptions.Exit(error.exit_code) from None


def print_error(message: str) -> None:
    """Write an error to stderr, as one line."""
    print_message(f"error: {' '.join(message.split())}")
