"""How many threads torch and the libraries of linear algebra compute on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def n_threads() -> int:
    """Return how many threads torch computes on: the cores, unless told otherwise (OMP_NUM_THREADS)."""
    return torch.get_num_threads()


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Let torch and the libraries of NumPy and scikit-learn compute on at most `n` threads in the block."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(limits=n):
            yield
    finally:
        torch.set_num_threads(before)
