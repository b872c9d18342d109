"""The binary problems of one-vs-one, and their parallel solution."""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.svm.kernels import Kernel

Solution = TypeVar("Solution")

MOST_ITERATIONS = 10_000_000
"""Used for a `max_iter` of -1 if the solver has no limit of its own. LIBSVM has the same limit for up to
100,000 points."""


def class_pairs(n_classes: int) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, in the order of all arrays over pairs."""
    return list(itertools.combinations(range(n_classes), 2))


def class_slices(sizes: Sequence[int] | NDArray[np.integer[Any]]) -> list[slice]:
    """Return the slice of each class among points grouped by class."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - int(n), end) for end, n in zip(ends, sizes, strict=True)]


@dataclass(frozen=True)
class Penalty:
    """The optimization problem that all pairs share, without their points.

    Parameters
    ----------
    C : float
        Penalty of a point on the wrong side; that of point i is C times its weight.
    kernel : Kernel
        The kernel.
    tol : float
        Tolerance of the stopping criterion.
    max_iter : int
        Maximum number of iterations; -1 for no limit.
    """

    C: float
    kernel: Kernel
    tol: float = 1e-3
    max_iter: int = -1


class Problem(NamedTuple):
    """A one-vs-one problem; see `svm.backend.SVMBackend.solve_pairs` for its parts."""

    grouped: Array
    sizes: Sequence[int]
    penalty: Penalty
    weights: NDArray[np.float64] | None


class PairByPair:
    """A backend that goes through problems one by one."""

    def at_once(self, n_points: int) -> bool:
        """Whether problems of so many points are solved at once: never."""
        return False

    def solve_pairs(
        self, grouped: Array, sizes: Sequence[int], penalty: Penalty, weights: NDArray[np.float64] | None
    ) -> "PairSolutions":
        """Solve the binary problem of every pair; see `svm.backend.SVMBackend`."""
        raise NotImplementedError

    def solve_all(self, problems: Sequence[Problem]) -> list["PairSolutions"]:
        """Solve several one-vs-one problems."""
        return [self.solve_pairs(*problem) for problem in problems]


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
        Number of iterations of the solver.
    """

    support: Array
    coefficients: Array
    intercept: Array
    n_iter: int


class PairSolutions(NamedTuple):
    """The solutions of all pairs.

    Parameters
    ----------
    duals : array of shape (n, n_classes)
        Dual coefficient alpha of each point in the problem of its own class and each other one: not
        negative, and 0 in the column of its own class.
    intercepts : array of shape (n_pairs,)
        Constants of the decision functions, in the order of `class_pairs`.
    n_iter : ndarray of shape (n_pairs,), integer
        Number of iterations of the solver.
    """

    duals: Array
    intercepts: Array
    n_iter: NDArray[np.integer[Any]]


def join_pairs(solutions: Sequence[BinarySVM], sizes: Sequence[int]) -> PairSolutions:
    """Join the solutions of single pairs, in the order of `class_pairs`, by array operations only.

    Positions in a pair are ascending, so a binary search finds each point among them, without scatter
    operations.
    """
    xp = array_namespace(solutions[0].coefficients)
    columns: list[list[Array]] = [[None] * len(sizes) for _ in sizes]
    for solution, (i, j) in zip(solutions, class_pairs(len(sizes)), strict=True):
        whole = _spread(solution, sizes[i] + sizes[j])
        columns[i][j], columns[j][i] = -whole[: sizes[i]], whole[sizes[i] :]
    for own, row in enumerate(columns):
        row[own] = xp.zeros_like(row[own - 1])
    return PairSolutions(
        duals=xp.concat([xp.stack(row, axis=1) for row in columns]),
        intercepts=xp.concat([solution.intercept for solution in solutions]),
        n_iter=np.array([solution.n_iter for solution in solutions]),
    )


def _spread(solution: BinarySVM, n: int) -> Array:
    """Return the coefficients of all `n` points of a pair, 0 for those that are not support vectors."""
    coefficients = solution.coefficients
    xp, place = array_namespace(coefficients), device(coefficients)
    nothing = xp.zeros(n, dtype=coefficients.dtype, device=place)
    if solution.support.shape[0] == 0:
        return nothing
    positions, every = xp.astype(solution.support, xp.int64), xp.arange(n, device=place)
    found = xp.searchsorted(positions, every)
    found = xp.where(found < positions.shape[0], found, xp.zeros_like(found))
    is_there = xp.take(positions, found) == every
    return xp.where(is_there, xp.take(coefficients, found), nothing)


def solve_concurrently(
    solve: Callable[[int, int], Solution], sizes: Sequence[int], workers: int
) -> list[Solution]:
    """Call `solve(i, j)` for every pair of classes, several at a time, and return the results in order.

    The largest pairs start first, to balance the load. The result does not depend on `workers`, since the
    pairs are independent.

    Parameters
    ----------
    solve : callable
        Solves one pair; must release the GIL to benefit from threads.
    sizes : sequence of int
        Number of points of each class.
    workers : int
        Number of threads.
    """
    pairs = class_pairs(len(sizes))
    by_size = sorted(pairs, key=lambda pair: -sizes[pair[0]] - sizes[pair[1]])
    pool = _pool(os.getpid(), workers)
    futures = {pair: pool.submit(solve, *pair) for pair in by_size}
    try:
        return [futures[pair].result() for pair in pairs]
    finally:
        # After a failure or Ctrl-C, pending pairs are cancelled, and running ones awaited.
        begun = [future for future in futures.values() if not future.cancel()]
        wait(begun)


@cache
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    """Return the thread pool of this process, shared by all fits: cuML creates a handle for each new thread.

    A forked process does not inherit the threads of its parent.
    """
    return ThreadPoolExecutor(workers, thread_name_prefix="svm")
