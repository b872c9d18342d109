"""Work of a GPU recorded as a CUDA graph, which launches all its kernels at once.

If recording fails (an old driver, a library that waits for the GPU), a warning is logged and the caller
launches kernels one by one, which is slower but equivalent.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import torch

logger = logging.getLogger(__name__)

STREAMS = 32
"""Number of streams that torch hands out round-robin (c10/cuda/CUDAStream.h)."""

_live: WeakValueDictionary[tuple[int | None, int], "Recording"] = WeakValueDictionary()
"""Live graphs by device and stream: of two on one stream, the first to be freed also frees the workspaces of
the other (pytorch#193402)."""


class Recording:
    """Work that is recorded on its own stream and can be replayed.

    Parameters
    ----------
    work : callable
        The work to record. It is called once for the recording, without computing anything. The tensors that
        it reads and writes must keep their memory, and nothing in it may wait for the GPU.
    device : torch.device
        A GPU.
    generator : torch.Generator, optional
        Source of the random numbers of the work. Its state advances from replay to replay.

    Attributes
    ----------
    result
        Return value of the work; each replay overwrites it.

    Raises
    ------
    RuntimeError
        If recording fails.
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
            # If recording fails, torch leaves its stream as the current one.
            torch.cuda.stream(self.stream),
            # torch's own stream for recording is on the first GPU. Another thread may read images at the same
            # time.
            torch.cuda.graph(self._graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            self.result = work()
        _live[device.index, self.stream.cuda_stream] = self

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        self._graph.replay()


def record(
    work: Callable[[], Any], device: torch.device, generator: torch.Generator | None = None
) -> Recording | None:
    """Record work; if that fails, warn and return None. See `Recording`."""
    # A generator stays in recording mode after a failed recording.
    state = None if generator is None else generator.clone_state()
    try:
        return Recording(work, device, generator)
    except RuntimeError as error:
        if generator is not None and state is not None:
            generator.graphsafe_set_state(state)
        _warn(" ".join(str(error).split()))
        return None


def _own_stream(device: torch.device) -> torch.cuda.Stream:
    """Return a stream of torch on which no live graph was recorded."""
    for _ in range(STREAMS):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        if (device.index, stream.cuda_stream) not in _live:
            return stream
    raise RuntimeError(f"{STREAMS} CUDA graphs are in use, one on each stream")


@cache
def _warn(reason: str) -> None:
    logger.warning(
        "gpu-ssl: steps cannot be recorded as a CUDA graph (%s); kernels are launched one by one, which is "
        "slower",
        reason,
    )
