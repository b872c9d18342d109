"""Number of threads of torch and the linear algebra libraries."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def n_threads() -> int:
    """Return torch's number of threads: the cores, unless OMP_NUM_THREADS is set."""
    return torch.get_num_threads()


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Limit torch and the libraries of NumPy and scikit-learn to `n` threads in the block."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(limits=n):
            yield
    finally:
        torch.set_num_threads(before)
