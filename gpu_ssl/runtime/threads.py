"""Number of threads of torch and the linear algebra libraries."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

FEW_PIXELS = 2**20
"""Number of pixels of all images up to which SVMs and features take less time on one thread: to wake another
takes longer than its work (2.6 instead of 2.9 s for `gpu-ssl run --dataset digits --labels 50` on two
cores; no other size was measured)."""


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


def suitable_threads(n_pixels: int) -> AbstractContextManager[None]:
    """Limit the block to one thread if there are at most `FEW_PIXELS`, for which several are slower."""
    return limited_threads(1) if n_pixels <= FEW_PIXELS else nullcontext()
