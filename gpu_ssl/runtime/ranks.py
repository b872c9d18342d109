"""The processes that train together: those that torchrun starts, or a single one.

Only rank 0 writes files and prints. All processes do the same work in the same order, so that what one waits
for, the others send.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeVar

from torch import Tensor, nn

from gpu_ssl.records import Choice
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.torchrun import by_torchrun

Value = TypeVar("Value")


class Ranks(Protocol):
    """The processes of a run.

    Attributes
    ----------
    number, size : int
        Rank number of this process, and number of processes.
    """

    number: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this process, rank 0, writes files and prints."""

    def device(self, requested: str) -> Choice:
        """Choose the device of this process; see `runtime.device.resolve_device`."""

    def share(self, value: Value) -> Value:
        """Return the value that rank 0 passes."""

    def fails_first(self) -> bool:
        """Return True on the first process that fails, which prints the error, and False on the others."""

    def meet(self) -> None:
        """Wait for all processes. From now on a silent process counts as dead."""

    def shard(self, n: int) -> range:
        """Return this process's shard of `n` rows."""

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; its gradient flows back to all of them."""

    def gather(self, rows: Tensor, n: int) -> Tensor | None:
        """Return on rank 0 the `n` rows (n, d), a shard of which each process passes; elsewhere None.

        The result is column-major, as latents are.
        """

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over all processes."""

    def exchanging(self) -> AbstractContextManager[None]:
        """Raise RankError if communication by torch within the block fails."""

    def part(self) -> None:
        """End communication: rank 0 does the rest, and the other processes exit here (SystemExit)."""

    def abandon(self, exit_code: int) -> None:
        """End this process at once if others may be waiting for it."""


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
    """Join the other processes, if torchrun started any.

    Raises
    ------
    RankError
        If they are not reachable.
    """
    if not by_torchrun():
        return ALONE
    from gpu_ssl.runtime.process_group import Together

    return Together()
