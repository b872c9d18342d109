"""A training step as one CUDA graph.

A step of the default network launches about 300 kernels of a few microseconds each, which takes the host ten
times as long as the GPU needs to run them (docs/benchmarks.md). A graph launches them all at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.runtime.recording import Recording, record


class Replay:
    """Does the same work on successive batches, as a CUDA graph from the second on if it `records`.

    The first time, kernels are launched one by one: that creates the momenta, and libraries choose their
    kernels. The tensors that the work reads and writes besides its arguments (weights, momenta, gradients)
    must keep their memory, and nothing in it may wait for the GPU.

    If recording fails, a warning is logged, and kernels are always launched one by one.

    Parameters
    ----------
    records : bool
        Whether to record, on a GPU only. All batches must then have the same shape.
    generator : torch.Generator
        Source of the random numbers of the work. Its state advances from replay to replay.
    """

    def __init__(self, records: bool, generator: torch.Generator) -> None:
        self.records, self._generator = records, generator
        self.forget()

    def forget(self) -> None:
        """Discard the graph, as weights or momenta have moved in memory."""
        self._begun = False
        self._recording: Recording | None = None

    @property
    def recorded(self) -> bool:
        """Whether there is a graph."""
        return self._recording is not None

    def __call__(self, work: Callable[..., Any], inputs: Sequence[Tensor], numbers: Sequence[float]) -> Any:
        """Do `work`, and return its result, which the next call may overwrite.

        Parameters
        ----------
        work : callable
            Function of the inputs, then the numbers; these are tensors during recording, as a graph records
            plain numbers as constants. Once it is recorded, another `work` is ignored.
        inputs : sequence of Tensor
            Tensors that differ between batches, on the device.
        numbers : sequence of float
            Numbers that differ between batches, such as learning rates.
        """
        if self.records and self._begun and self._recording is None:
            self._recording = self._record(work, inputs, len(numbers))
            self.records = self._recording is not None
        if self._recording is None:
            self._begun = True
            return work(*inputs, *numbers)
        for place, value in zip(self._inputs, inputs, strict=True):
            place.copy_(value)
        self._numbers.copy_(torch.tensor(numbers).pin_memory(), non_blocking=True)
        self._recording.replay()
        return self._recording.result

    def _record(self, work: Callable[..., Any], inputs: Sequence[Tensor], n: int) -> Recording | None:
        self._inputs = [torch.empty_like(value) for value in inputs]
        self._numbers = torch.zeros(n, device=inputs[0].device)
        return record(lambda: work(*self._inputs, *self._numbers.unbind()), inputs[0].device, self._generator)
