"""The work of a training step as one CUDA graph.

A step of the default network launches some 300 kernels of a few microseconds each, and the host needs ten
times as long to launch them as a GPU to run them (docs/benchmarks.md). A graph launches them all at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gpu_ssl.models.muon import Rates

Work = Callable[[Tensor, Tensor, Tensor, Sequence[Rates]], Any]
"""Takes images, targets, the weight of the KL divergence and the rates of each parameter group."""


class Replay:
    """Some work on the GPU, recorded once and repeated on other images, with other rates.

    What the work reads and writes besides (weights, momenta, gradients) must stay where it is.

    Parameters
    ----------
    work : callable
        What is recorded; it must not wait for the GPU, and must have run before, so that all is in place.
    images, targets : Tensor
        Of the shape that all batches have.
    groups : int
        Number of parameter groups.
    generator : torch.Generator
        Where the work draws its random numbers from. It goes on from replay to replay.
    """

    def __init__(
        self, work: Work, images: Tensor, targets: Tensor, groups: int, generator: torch.Generator
    ) -> None:
        self._images, self._targets = torch.empty_like(images), torch.empty_like(targets)
        self._numbers = torch.zeros(1 + 2 * groups, device=images.device)
        kl_weight, *others = self._numbers.unbind()
        rates = [Rates(*others[2 * i : 2 * i + 2]) for i in range(groups)]
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        # Another thread may read images or pin memory meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._result = work(self._images, self._targets, kl_weight, rates)

    def __call__(self, images: Tensor, targets: Tensor, kl_weight: float, rates: Sequence[Rates]) -> Any:
        """Repeat the work; its result is overwritten by the next call. Nothing waits for the GPU."""
        self._images.copy_(images)
        self._targets.copy_(targets)
        numbers = torch.tensor([kl_weight, *(number for own in rates for number in own)]).pin_memory()
        self._numbers.copy_(numbers, non_blocking=True)
        self._graph.replay()
        return self._result
