"""All pairs of classes, also of several choices of labelled points, as one batch on the points' device.

cuML solves one pair after the other, each in a few milliseconds whatever its size; here one step of all pairs
is one set of kernels (see `svm.smo`). Only whether the problems have converged is copied to the host.

Problems of similar size are padded to the largest of them and solved together, as many as fit in a part of
the memory. If the kernel matrix of a single problem does not fit, its rows are computed as needed.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.runtime import interop
from gpu_ssl.runtime.device import free_bytes
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.pairs import PairSolutions, Penalty, Problem
from gpu_ssl.svm.smo import Rows, Solver

HOST_BYTES = 2**29
"""Maximum memory in bytes of a batch on a CPU."""

DEVICE_SHARE = 0.5
"""Maximum memory of a batch on a GPU, as a fraction of its free memory."""

STATE = 12
"""Number of float64 values per point that the solver keeps."""


class BatchedBackend:
    """Solves pairs on tensors on any device.

    Parameters
    ----------
    device : torch.device
        Device to solve on.
    room : int, optional
        Maximum memory in bytes of a batch, instead of `HOST_BYTES` or the free memory.
    """

    name = "batched"

    def __init__(self, device: torch.device, room: int | None = None) -> None:
        self.device, self._room = device, room

    def at_once(self, n_points: int) -> bool:
        """Whether problems of so many points are solved at once: of any number."""
        return True

    @property
    def room(self) -> int:
        """Maximum memory in bytes of a batch."""
        if self._room is not None:
            return self._room
        return int(DEVICE_SHARE * free_bytes(self.device)) if self.device.type == "cuda" else HOST_BYTES

    def receive(self, latents: Tensor) -> Tensor:
        """Return the latents themselves."""
        return latents.detach()

    def from_host(self, array: NDArray[Any]) -> Tensor:
        """Copy an array to the device; on a CPU, return a view."""
        return interop.borrow(np.ascontiguousarray(array)).to(self.device)

    def to_host(self, array: Tensor) -> NDArray[Any]:
        """Copy a tensor to the host, or view it if it is there."""
        return interop.to_numpy(interop.copy_to_host(array))

    def solve_pairs(
        self, grouped: Tensor, sizes: Sequence[int], penalty: Penalty, weights: NDArray[np.float64] | None
    ) -> PairSolutions:
        """Solve the binary problem of every pair; see `svm.backend.SVMBackend`."""
        return self.solve_all([Problem(grouped, sizes, penalty, weights)])[0]

    def solve_all(self, problems: Sequence[Problem]) -> list[PairSolutions]:
        """Solve several one-vs-one problems, whose penalties may differ only in C and gamma."""
        pairs = Pairs(problems)
        kernel, penalty = pairs.kernel, pairs.penalty
        duals = torch.zeros(len(pairs.points) * pairs.width, dtype=torch.float64, device=self.device)
        constants = torch.zeros(len(pairs.sizes), dtype=torch.float64, device=self.device)
        n_iter = torch.zeros(len(pairs.sizes), dtype=torch.int64, device=self.device)
        room = self.room
        for chosen, fits in _batches(pairs.sizes, pairs.points.shape[1], room):
            batch = pairs.take(chosen)
            if fits:
                rows, diagonal = self.values(pairs, batch, kernel)
            else:
                rows, diagonal = _values_on_demand(pairs.points[batch.members[0]], kernel)
            solver = Solver(rows, diagonal, batch.y, batch.C, penalty.tol, penalty.max_iter)
            solved = solver.solve(as_graph=self.device.type == "cuda")
            # Padding adds 0 to the first point.
            duals.scatter_add_(0, batch.places.flatten(), solved.b.abs().flatten())
            at = torch.from_numpy(chosen).to(self.device)
            constants[at], n_iter[at] = -solved.constants, solved.n_iter
        return pairs.apart(duals.reshape(-1, pairs.width), constants, n_iter.cpu().numpy())

    def values(self, pairs: "Pairs", batch: "Batch", kernel: Kernel) -> tuple[Rows, Tensor]:
        """Work out the kernel values of all points of each pair of a batch with each other."""
        return _all_values(pairs.points[batch.members], kernel)


class Batch(NamedTuple):
    """Some pairs, padded to N points: rows of the points, labels, penalties, and places of duals, (B, N)."""

    members: Tensor
    y: Tensor
    C: Tensor
    places: Tensor


class Pairs:
    """The pairs of all problems in sequence, over the points of all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems
        self.penalty = problems[0].penalty
        # Points times the root of gamma make kernels whose gamma is 1, the same for all problems.
        self.kernel = dataclasses.replace(self.penalty.kernel, gamma=1.0)
        gammas = [1.0 if self.kernel.name == "linear" else p.penalty.kernel.gamma for p in problems]
        scaled = [p.grouped * math.sqrt(gamma) for p, gamma in zip(problems, gammas, strict=True)]
        self.points = torch.cat(scaled)
        self.weights = torch.cat([_penalties(p) for p in problems])
        self.width = max(len(p.sizes) for p in problems)
        columns, start = [], 0
        for problem in problems:
            if dataclasses.replace(problem.penalty.kernel, gamma=1.0) != self.kernel:
                raise ValueError("problems that are solved together must have kernels of one kind")
            counts = np.asarray(problem.sizes)
            starts = start + np.cumsum(counts) - counts
            first, second = np.triu_indices(len(counts), 1)
            columns.append(
                np.stack([starts[first], counts[first], starts[second], counts[second], first, second])
            )
            start += int(counts.sum())
        self._columns = np.concatenate(columns, axis=1)
        self.sizes = self._columns[1] + self._columns[3]

    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """Return some pairs; the first class of each is the positive one, as in LIBSVM."""
        columns = torch.from_numpy(self._columns[:, chosen]).to(self.points.device)
        start, n_first, other_start, n_other, first, second = columns[:, :, None]
        # In reverse order: among equal violations LIBSVM selects the last point.
        place = n_first + n_other - 1 - torch.arange(int(self.sizes[chosen].max()), device=columns.device)
        is_first, is_there = place < n_first, place >= 0
        members = torch.where(is_first, start + place, other_start + place - n_first)
        members = torch.where(is_there, members, start)
        y = torch.where(is_first, 1.0, -1.0).to(torch.float64) * is_there
        places = members * self.width + torch.where(is_first | ~is_there, second, first)
        return Batch(members, y, self.weights[members], places)

    def apart(self, duals: Tensor, constants: Tensor, n_iter: NDArray[np.int64]) -> list[PairSolutions]:
        """Return the solutions of each problem."""
        solutions, point, pair = [], 0, 0
        for problem in self.problems:
            k = len(problem.sizes)
            points = slice(point, point + sum(problem.sizes))
            pairs = slice(pair, pair + k * (k - 1) // 2)
            solutions.append(PairSolutions(duals[points, :k], constants[pairs], n_iter[pairs]))
            point, pair = points.stop, pairs.stop
        return solutions


def _penalties(problem: Problem) -> Tensor:
    """Return the penalty C of each point, (n,), float64."""
    if problem.weights is None:
        shape, place = (len(problem.grouped),), problem.grouped.device
        return torch.full(shape, problem.penalty.C, dtype=torch.float64, device=place)
    weights: Tensor = torch.from_numpy(problem.penalty.C * problem.weights)
    return weights.to(problem.grouped.device)


def _batches(sizes: NDArray[np.int64], width: int, room: int) -> Iterator[tuple[NDArray[np.int64], bool]]:
    """Cut pairs, largest first, into batches of similar size, and return whether each fits in `room` bytes.

    A pair that does not fit is a batch by itself.
    """
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        n = int(sizes[order[start]])
        # Kernel values twice and points three times during their computation; then the solver's state.
        needed = 4 * n * (2 * n + 3 * (width + 2)) + 8 * n * STATE
        like = int(np.searchsorted(-sizes[order], -(n // 2), side="right"))
        stop = max(start + 1, min(like, start + room // needed))
        yield order[start:stop], needed <= room
        start = stop


def _all_values(points: Tensor, kernel: Kernel) -> tuple[Rows, Tensor]:
    """Compute the kernel matrices of the points (B, N, d) of each problem."""
    values = kernel.against(points)(points).to(torch.float32)
    return lambda problems, which: values[problems, which], values.diagonal(dim1=1, dim2=2)


def _values_on_demand(points: Tensor, kernel: Kernel) -> tuple[Rows, Tensor]:
    """Compute rows of the kernel matrix of a single problem's points (N, d) on demand."""
    against = kernel.against(points)
    alone = points[:, None, :]
    diagonal = kernel.against(alone)(alone).to(torch.float32)
    return lambda _, which: against(points[which]).to(torch.float32), diagonal.reshape(1, -1)
