"""Work of a GPU recorded as a CUDA graph, which launches all its kernels at once.

Where a graph cannot be recorded (an old driver, a library that waits for the GPU), a warning says so and the
caller launches the work piece by piece, which is slower and right.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import torch

logger = logging.getLogger(__name__)

STREAMS = 32
"""Streams that torch hands out in turn; after so many it begins anew (c10/cuda/CUDAStream.h)."""

_live: WeakValueDictionary[tuple[int | None, int], "Recording"] = WeakValueDictionary()
"""Graphs that can be replayed, by device and stream: of two on one stream, the first to be freed takes the
workspaces of the other with it (pytorch#193402)."""


class Recording:
    """Work that is recorded on a stream of its own and can be replayed.

    Parameters
    ----------
    work : callable
        What to record. It runs once more, to be recorded, and computes nothing meanwhile. What it reads and
        writes must stay where it is, and nothing in it may wait for the GPU.
    device : torch.device
        A GPU.
    generator : torch.Generator, optional
        Where the work draws its random numbers from. It goes on from replay to replay.

    Attributes
    ----------
    result
        What the work returned; each replay overwrites it.

    Raises
    ------
    RuntimeError
        If it cannot be recorded.
    """

    def __init__(
        self, work: Callable[[], Any], device: torch.device, generator: torch.Generator | None = None
    ) -> None:
        self.stream = _own_stream(device)
        self._graph = torch.cuda.CUDAGraph()
        if generator is not None:
            self._graph.register_generator_state(generator)
        with (
            torch.cuda.device(device),
            # Where recording fails, torch leaves its stream the current one.
            torch.cuda.stream(self.stream),
            # torch's own stream for recording is on the first GPU. Another thread may read images meanwhile.
            torch.cuda.graph(self._graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            self.result = work()
        _live[device.index, self.stream.cuda_stream] = self

    def replay(self) -> None:
        """Launch all of it on the current stream."""
        self._graph.replay()


def record(
    work: Callable[[], Any], device: torch.device, generator: torch.Generator | None = None
) -> Recording | None:
    """Record work, or warn that it cannot be and return None; see `Recording`."""
    # A generator whose recording failed believes for good that it is being recorded.
    state = None if generator is None else generator.clone_state()
    try:
        return Recording(work, device, generator)
    except RuntimeError as error:
        if generator is not None and state is not None:
            generator.graphsafe_set_state(state)
        _warn(" ".join(str(error).split()))
        return None


def _own_stream(device: torch.device) -> torch.cuda.Stream:
    """Return a stream of torch's that no live graph was recorded on."""
    for _ in range(STREAMS):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        if (device.index, stream.cuda_stream) not in _live:
            return stream
    raise RuntimeError(f"{STREAMS} CUDA graphs are in use, one on each stream")


@cache
def _warn(reason: str) -> None:
    logger.warning(
        "gpu-ssl: steps cannot be recorded as a CUDA graph (%s); they are launched piece by piece, which is "
        "slower",
        reason,
    )
