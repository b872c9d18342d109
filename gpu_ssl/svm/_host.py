"""The SVMs of a CPU: LIBSVM's where points are many, and those of `svm.smo` where they are few.

LIBSVM fits few points in milliseconds, and importing scikit-learn, which brings it, takes as long as a
hundred such fits. The solver in torch takes the same steps, so it finds the same solutions to within the
tolerance, and it solves the folds of a cross-validation at once (docs/experiments/svm.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.svm._batched import Batch, BatchedBackend, Pairs
from gpu_ssl.svm._sklearn import SklearnBackend, kernel_matrix
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.pairs import PairSolutions, Penalty, Problem
from gpu_ssl.svm.smo import Rows

FEW = 200
"""Points up to which a problem is solved without scikit-learn. Five of 300 points and ten classes took 0.09 s
on one core, and 0.05 s with it."""

PATIENCE = 5000
"""Iterations after which a problem is left to LIBSVM, whose iterations take a hundredth of the time. With the
default C hundreds are enough; a large C, or contradictory labels, can take millions."""


class HostBackend(SklearnBackend):
    """Fits on the host, few points without scikit-learn."""

    def __init__(self) -> None:
        self._few = _KernelMatrices(torch.device("cpu"))

    def at_once(self, n_points: int) -> bool:
        """Whether problems of so many points are solved at once."""
        return n_points <= FEW

    def solve_pairs(
        self,
        grouped: NDArray[Any],
        sizes: Sequence[int],
        penalty: Penalty,
        weights: NDArray[np.float64] | None,
    ) -> PairSolutions:
        """Solve the binary problem of every pair; see `svm.backend.SVMBackend`."""
        return self.solve_all([Problem(grouped, sizes, penalty, weights)])[0]

    def solve_all(self, problems: Sequence[Problem]) -> list[PairSolutions]:
        """Solve several one-vs-one problems, at once if all are small."""
        if not all(self.at_once(len(problem.grouped)) for problem in problems):
            return [super(HostBackend, self).solve_pairs(*problem) for problem in problems]
        found = []
        for problem, solved in zip(problems, self._few.solve_all(list(map(_brief, problems))), strict=True):
            if (solved.n_iter >= PATIENCE).any() and not 0 <= problem.penalty.max_iter <= PATIENCE:
                found.append(super().solve_pairs(*problem))
            else:
                found.append(PairSolutions(solved.duals.numpy(), solved.intercepts.numpy(), solved.n_iter))
        return found


def _brief(problem: Problem) -> Problem:
    """Return a problem for the solver in torch, of at most `PATIENCE` iterations."""
    most = problem.penalty.max_iter
    penalty = replace(problem.penalty, max_iter=PATIENCE if most < 0 else min(most, PATIENCE))
    return problem._replace(grouped=torch.from_numpy(problem.grouped), penalty=penalty)


class _KernelMatrices(BatchedBackend):
    """Works out one matrix of kernel values for each problem, as LIBSVM's backend does for wide points.

    Each by itself, so that a solution does not depend on what is solved with it.
    """

    def values(self, pairs: Pairs, batch: Batch, kernel: Kernel) -> tuple[Rows, Tensor]:
        """Return the kernel values of a batch; see `BatchedBackend.values`."""
        sizes = np.array([len(problem.grouped) for problem in pairs.problems])
        ends = np.cumsum(sizes)
        matrices = torch.zeros(len(sizes), int(sizes.max()), int(sizes.max()))
        for matrix, n, end in zip(matrices, sizes.tolist(), ends.tolist(), strict=True):
            points = pairs.points[end - n : end].numpy()
            matrix[:n, :n] = torch.from_numpy(kernel_matrix(points, kernel))
        own = np.searchsorted(ends, batch.members[:, 0].numpy(), side="right")
        members = batch.members - torch.from_numpy(ends - sizes)[own, None]
        own_of = torch.from_numpy(own)
        values = matrices[own_of[:, None, None], members[:, :, None], members[:, None, :]]
        return lambda chosen, which: values[chosen, which], values.diagonal(dim1=1, dim2=2)
