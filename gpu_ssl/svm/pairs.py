"""The binary problems of one-vs-one: what they are, and how many are solved at a time."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm.kernels import Kernel

Solution = TypeVar("Solution")


def class_pairs(n_classes: int) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, in the order in which everything one-vs-one lists them."""
    return list(itertools.combinations(range(n_classes), 2))


def class_slices(sizes: Sequence[int] | NDArray[np.integer[Any]]) -> list[slice]:
    """Return where each class lies among points that are grouped by class."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - int(n), end) for end, n in zip(ends, sizes, strict=True)]


@dataclass(frozen=True)
class Penalty:
    """The optimization problem that all pairs share, beside their points.

    Parameters
    ----------
    C : float
        Penalty of a point on the wrong side; that of point i is C times its weight.
    kernel : Kernel
        The kernel.
    tol : float
        Tolerance of the stopping criterion.
    max_iter : int
        Most iterations of the solver; -1 for no limit.
    """

    C: float
    kernel: Kernel
    tol: float = 1e-3
    max_iter: int = -1


class BinarySVM(NamedTuple):
    """The solution of one pair (i, j): positive decision values are for class j.

    Parameters
    ----------
    support : array of shape (m,), integer
        Support vectors, as positions among the points of class i followed by those of class j, ascending.
    coefficients : array of shape (m,)
        Their dual coefficients alpha * y.
    intercept : array of shape (1,)
        The constant of the decision function.
    n_iter : int
        Iterations that the solver took.
    """

    support: Array
    coefficients: Array
    intercept: Array
    n_iter: int


def solve_concurrently(
    solve: Callable[[int, int], Solution], sizes: Sequence[int], workers: int
) -> list[Solution]:
    """Call `solve(i, j)` for every pair of classes, several at a time, and return the results in order.

    The largest pairs start first, so that none is left alone at the end. The result does not depend on
    `workers`: each pair is a problem of its own.

    Parameters
    ----------
    solve : callable
        Must release the GIL to gain from threads.
    sizes : sequence of int
        Number of points of each class.
    workers : int
        Number of threads.
    """
    pairs = class_pairs(len(sizes))
    by_size = sorted(pairs, key=lambda pair: -sizes[pair[0]] - sizes[pair[1]])
    pool = ThreadPoolExecutor(workers, thread_name_prefix="svm")
    try:
        futures = {pair: pool.submit(solve, *pair) for pair in by_size}
        return [futures[pair].result() for pair in pairs]
    finally:
        # After a failure or Ctrl-C, pairs that have not begun never do.
        pool.shutdown(wait=True, cancel_futures=True)
