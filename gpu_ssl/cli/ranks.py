"""What the processes that torchrun starts tell the user: each thing once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gpu_ssl.errors import GpuSslError, UsageError

if TYPE_CHECKING:
    from gpu_ssl.runtime.ranks import Ranks

TOGETHER = ("run", "fit")
"""Commands whose work several ranks share."""


@contextmanager
def one_tells(ranks: "Ranks") -> Iterator[None]:
    """Let one rank fail loudly: the first that fails, and with wrong usage rank 0."""
    try:
        yield
    except GpuSslError as error:
        if ranks.fails_first() or isinstance(error, UsageError):
            raise
        raise click.exceptions.Exit(error.exit_code) from None
