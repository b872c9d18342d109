"""The processes that train together: those that torchrun starts, or the one that runs alone.

Rank 0 leads: it alone writes files and tells the user something. All ranks do the same work in the same
order, so that what one waits for, the others send.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeVar

from torch import Tensor, nn

from gpu_ssl.records import Choice
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.torchrun import by_torchrun

Value = TypeVar("Value")


class Ranks(Protocol):
    """The processes that do a run together.

    Attributes
    ----------
    number, size : int
        Which of how many this is.
    """

    number: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and tells."""

    def device(self, requested: str) -> Choice:
        """Decide on which device this rank computes; see `runtime.device.resolve_device`."""

    def share(self, value: Value) -> Value:
        """Return what rank 0 gives."""

    def fails_first(self) -> bool:
        """Say, on one of all ranks that fail, that no other has told the user."""

    def meet(self) -> None:
        """Wait until all ranks are here. From now on one that keeps silent counts as dead."""

    def shard(self, n: int) -> range:
        """Return which of `n` rows are this rank's."""

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks; a gradient goes back to all of them."""

    def gather(self, rows: Tensor, n: int) -> Tensor | None:
        """Return the `n` rows (n, d) of which each rank gives its shard, on rank 0; elsewhere None.

        The result is column-major, as latents are.
        """

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are the means over all ranks."""

    def exchanging(self) -> AbstractContextManager[None]:
        """Raise RankError where what torch exchanges on its own within the block goes wrong."""

    def part(self) -> None:
        """Exchange nothing any more: rank 0 does the rest, and the other processes end here (SystemExit)."""

    def abandon(self, exit_code: int) -> None:
        """End this process, if others may be waiting for what it never sends."""


class _Alone:
    number, size, leads = 0, 1, True

    def device(self, requested: str) -> Choice:
        return resolve_device(requested)

    def share(self, value: Value) -> Value:
        return value

    def fails_first(self) -> bool:
        return True

    def meet(self) -> None:
        pass

    def shard(self, n: int) -> range:
        return range(n)

    def total(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather(self, rows: Tensor, n: int) -> Tensor | None:
        return rows

    def parallel(self, module: nn.Module) -> nn.Module:
        return module

    def exchanging(self) -> AbstractContextManager[None]:
        return nullcontext()

    def part(self) -> None:
        pass

    def abandon(self, exit_code: int) -> None:
        pass


ALONE: Final[Ranks] = _Alone()


def join_ranks() -> Ranks:
    """Join the other ranks, if torchrun started some.

    Raises
    ------
    RankError
        If they cannot be reached.
    """
    if not by_torchrun():
        return ALONE
    from gpu_ssl.runtime.process_group import Together

    return Together()
