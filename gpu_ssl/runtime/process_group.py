"""Processes started by torchrun: they communicate by NCCL between GPUs and by gloo between CPUs."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from gpu_ssl.errors import DeviceError, RankError, UsageError
from gpu_ssl.records import Choice
from gpu_ssl.runtime.cache import delete_temporary
from gpu_ssl.runtime.device import resolve_device

logger = logging.getLogger(__name__)

START: Final = timedelta(minutes=30)
"""Timeout until all processes have the data, which one may have to download."""

SILENCE: Final = timedelta(seconds=45)
"""Timeout during training, after which a silent process counts as dead."""

GRACE: Final = 5.0
"""Seconds for a process to exit after SIGTERM, and to ask whether another has printed the error."""

EXCHANGE_WORDS: Final = ("gloo", "NCCL", "Connection reset", "Connection closed", "timeout", "Timed out")
"""Parts of torch's messages when another process has ended; gloo raises plain RuntimeErrors."""

GONE: Final = f"another process ended, or did not respond for {SILENCE.seconds} seconds"
STOPPED: Final = "stopped by SIGTERM, which torchrun sends when another process ends"

Value = TypeVar("Value")


class Together:
    """One of several processes; see `runtime.ranks.Ranks`."""

    def __init__(self) -> None:
        self.number, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.local = int(os.environ["LOCAL_RANK"])
        self.group: Any = None
        self._heed_sigterm()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _exchange():
            self.store, *_ = next(rendezvous("env://", timeout=START))
            dist.init_process_group(
                backend, store=self.store, rank=self.number, world_size=self.size, timeout=START
            )

    def _heed_sigterm(self) -> None:
        """Print a message when torchrun ends the remaining processes."""
        signal.signal(signal.SIGTERM, _terminated)
        # The main thread handles no signal while it waits for a GPU, which a dead process blocks for ever.
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)

        def end() -> None:
            while os.read(heard, 1) != bytes([signal.SIGTERM]):
                pass
            time.sleep(GRACE)
            if self.fails_first():
                print(f"gpu-ssl: error: {STOPPED}", file=sys.stderr, flush=True)  # noqa: T201
            delete_temporary()
            os._exit(1)

        threading.Thread(target=end, daemon=True).start()

    @property
    def leads(self) -> bool:
        return self.number == 0

    def device(self, requested: str) -> Choice:
        if requested.startswith("cuda:"):
            raise UsageError(f"`device={requested}`: each of several processes uses its own GPU; give cuda")
        numbered = requested if requested == "cpu" else f"cuda:{self.local}"
        try:
            choice = resolve_device(numbered)
        except DeviceError as error:
            if requested != "auto":
                raise
            reason = str(error).removeprefix(f"`device={numbered}`: ").partition(". To run")[0]
            choice = Choice(requested=requested, used="cpu", reason=reason)
        kinds: list[str] = [""] * self.size
        with _exchange():
            dist.all_gather_object(kinds, torch.device(choice.used).type)
        if len(set(kinds)) > 1:
            listed = ", ".join(f"rank {number}: {kind}" for number, kind in enumerate(kinds))
            raise DeviceError(
                f"the processes found different devices ({listed}; here: {choice.reason}); start as "
                "many processes as there are GPUs, or give `device=cpu`"
            )
        if kinds[0] == "cuda":
            torch.cuda.set_device(self.local)
        return choice.model_copy(update={"requested": requested})

    def share(self, value: Value) -> Value:
        values: list[Any] = [value if self.leads else None]
        with _exchange():
            dist.broadcast_object_list(values, src=0)
        shared: Value = values[0]
        return shared

    def fails_first(self) -> bool:
        try:
            self.store.set_timeout(timedelta(seconds=GRACE))
            first: bool = self.store.add("gpu-ssl/failed", 1) == 1
        except (AttributeError, RuntimeError):  # No process was met, or the machine of rank 0 is gone.
            return True
        return first

    def meet(self) -> None:
        with _exchange():
            dist.barrier()
            # The first group has a long timeout, which would detect a hanging process late.
            self.group = dist.new_group(timeout=SILENCE)

    def shard(self, n: int) -> range:
        return shard_of(n, self.number, self.size)

    def total(self, tensor: Tensor) -> Tensor:
        total: Tensor = _Total.apply(tensor, self.group)
        return total

    def gather(self, rows: Tensor, n: int) -> Tensor | None:
        padded = rows.new_zeros(-(-n // self.size), rows.shape[1])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)] if self.leads else None
        with _exchange():
            dist.barrier()  # Slower processes have time to finish.
            dist.gather(padded, parts, dst=0, group=self.group)
        if parts is None:
            return None
        whole = rows.new_empty(rows.shape[1], n).T
        for number, part in enumerate(parts):
            shard = shard_of(n, number, self.size)
            whole[shard.start : shard.stop] = part[: len(shard)]
        return whole

    def parallel(self, module: nn.Module) -> nn.Module:
        with _exchange():
            # Batch norm's statistics are the same on all processes; see networks.batch_norm.
            return nn.parallel.DistributedDataParallel(
                module, process_group=self.group, forward_sync_buffers=False, gradient_as_bucket_view=True
            )

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or any(word in str(error) for word in EXCHANGE_WORDS):
                logger.info("%s", error)
                raise RankError(GONE) from error
            raise

    def part(self) -> None:
        with _exchange():
            dist.barrier()  # No process may end while another still sends to it.
        # Threads of a group that is still referenced abort the process if they outlive the interpreter.
        self.group = None
        with suppress(RuntimeError):  # There is nothing left to lose.
            dist.destroy_process_group()
        if not self.leads:
            raise SystemExit(0)

    def abandon(self, exit_code: int) -> None:
        if dist.is_initialized():
            # Pending operations may never finish, and ending without them would abort.
            sys.stdout.flush()
            sys.stderr.flush()
            delete_temporary()
            os._exit(exit_code)


def shard_of(n: int, number: int, size: int) -> range:
    """Return the shard of `n` rows of rank `number` of `size`; sizes of shards differ by at most 1."""
    return range(n * number // size, n * (number + 1) // size)


class _Total(torch.autograd.Function):
    """A differentiable sum over all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = tensor.clone()
        with _exchange():
            dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        with _exchange():
            dist.all_reduce(total, group=ctx.group)
        return total, None


@contextmanager
def _exchange() -> Iterator[None]:
    """Turn errors of communication between processes into one line for the user."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        logger.info("%s", error)
        raise RankError(GONE) from error


def _terminated(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise RankError(STOPPED)
