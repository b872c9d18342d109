"""The work of a training step as one CUDA graph.

A step of the default network launches some 300 kernels of a few microseconds each, and the host needs ten
times as long to launch them as a GPU to run them (docs/benchmarks.md). A graph launches them all at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.runtime.recording import Recording, record


class Replay:
    """Does the same work on one batch after another, as a CUDA graph from the second on if it `records`.

    The first time it is done piece by piece: that makes the momenta, and libraries choose their kernels. What
    the work reads and writes besides its arguments (weights, momenta, gradients) must stay where it is, and
    nothing in it may wait for the GPU.

    Where it cannot be recorded, a warning says so, and it is done piece by piece for good.

    Parameters
    ----------
    records : bool
        Whether to record; only a GPU can. All batches must then have the same shape.
    generator : torch.Generator
        Where the work draws its random numbers from. It goes on from replay to replay.
    """

    def __init__(self, records: bool, generator: torch.Generator) -> None:
        self.records, self._generator = records, generator
        self.forget()

    def forget(self) -> None:
        """Begin anew: the weights or momenta are not where they were."""
        self._begun = False
        self._recording: Recording | None = None

    @property
    def recorded(self) -> bool:
        """Whether there is a graph."""
        return self._recording is not None

    def __call__(self, work: Callable[..., Any], inputs: Sequence[Tensor], numbers: Sequence[float]) -> Any:
        """Do `work`, and return what it returns, which the next call may overwrite.

        Parameters
        ----------
        work : callable
            Takes the inputs and then the numbers; these are tensors where it is recorded, as a graph keeps
            plain numbers for good. Once it is recorded another `work` is not looked at.
        inputs : sequence of Tensor
            What differs from batch to batch, on the device.
        numbers : sequence of float
            What else does, such as learning rates.
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
