"""torch's log1p, and with it its softplus, takes ten times as long as it must on a CPU with AVX-512.

Upstream: log1p comes from Sleef since pytorch/pytorch#92144; we know of no issue about this fault. To be
dropped where `python -m benchmarks.roofline` gives the same time for the perceptron without it.
"""

import torch


def ready_softplus() -> None:
    """Read once what torch's log1p, which its softplus is made of, reads of a -0 alone.

    Its vector code loads constants under a mask, which is empty for all other values. An empty mask also
    suppresses the page fault that would bring in the constants' page of the library; so, until something else
    reads that page, the processor suppresses a fault at each load, and log1p takes ten times as long. (perf
    finds the time at these loads, and a bare read of the page ends it.)
    """
    torch.full((16,), -0.0, device="cpu").log1p()
