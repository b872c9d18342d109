"""torch's log1p, and with it softplus, is slower than necessary on a CPU with AVX-512.

Upstream: log1p comes from Sleef since pytorch/pytorch#92144; we know of no issue about this fault. To be
removed when `python -m benchmarks.roofline` shows the same time for the perceptron without it.
"""

import torch


def ready_softplus() -> None:
    """Read once the memory that torch's log1p, on which its softplus is based, reads only for -0.

    Its vector code loads constants under a mask, which is empty for all other values. An empty mask also
    suppresses the page fault that would load the constants' page of the library; so, until something else
    reads that page, the processor suppresses a fault at each load, and log1p takes ten times as long. (perf
    attributes the time to these loads, and a single read of the page removes it.)
    """
    torch.full((16,), -0.0, device="cpu").log1p()
