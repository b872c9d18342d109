"""LIBSVM's solver for many binary problems at once, in torch: one step of all of them is one set of kernels.

Sequential minimal optimization with second-order working sets (Fan, Chen and Lin 2005, *Working Set
Selection Using Second Order Information for Training SVM*, algorithm 2), and LIBSVM's stopping rule. In each
iteration a problem updates two of its dual variables; converged problems update none. As in LIBSVM, kernel
values are float32 and all else is float64, so the iterations equal LIBSVM's up to rounding. There is no
shrinking: it saves LIBSVM kernel evaluations, and would save nothing here.

A problem has N points with labels y, 1 or -1; smaller ones are padded by points of label 0, which are never
updated. The dual variables are stored with their sign, b = y alpha, so that both classes follow one rule: b
is bounded by lo = min(y, 0) C and hi = max(y, 0) C. v = y - K b, the signed negative gradient, is the
residual of the decision function at each point, up to the constant.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gpu_ssl.runtime.recording import Recording, record
from gpu_ssl.svm.pairs import MOST_ITERATIONS

LOOK = 32
"""Iterations between two checks for convergence, each of which waits for the GPU."""

LEAST_CURVATURE = 1e-12
"""LIBSVM's tau: replaces the curvature along a pair if it is not positive."""

ROUNDING = 1e-12
"""Distance from a bound, divided by C, that only rounding leaves: the dual variable is set to the bound. It
would count as one between bounds, which decide the constant."""

Rows = Callable[[Tensor, Tensor], Tensor]
"""Returns kernel values (B, N), float32, of one point with all points of its problem, from the indices of
problems (B,) and of the point in each (B,)."""


class Solutions(NamedTuple):
    """Solutions of B problems: signed dual variables (B, N), constants (B,), float64, and iterations (B,)."""

    b: Tensor
    constants: Tensor
    n_iter: Tensor


class Solver:
    """The state of B problems; all tensors keep their memory, so that steps can be recorded as a CUDA graph.

    Parameters
    ----------
    rows : Rows
        Computes kernel values.
    diagonal : Tensor of shape (B, N), float32
        Kernel value of each point with itself.
    y : Tensor of shape (B, N), float64
        1, -1, or 0 for padding.
    C : Tensor of shape (B, N), float64
        Penalty of each point.
    tol : float
        Tolerance of the stopping rule.
    max_iter : int
        Maximum number of iterations of a problem; -1 for no limit.
    """

    def __init__(
        self, rows: Rows, diagonal: Tensor, y: Tensor, C: Tensor, tol: float, max_iter: int = -1
    ) -> None:
        self.rows, self.diagonal, self.tol = rows, diagonal.to(torch.float64), tol
        self.hi, self.lo = y.clamp(min=0) * C, y.clamp(max=0) * C
        self.rounding = ROUNDING * (self.hi - self.lo)
        self.b, self.v = torch.zeros_like(y), y.clone()
        self.problems = torch.arange(len(y), device=y.device)
        self.n_iter = torch.zeros_like(self.problems)
        self.max_iter = MOST_ITERATIONS if max_iter < 0 else max_iter
        self.moves = torch.ones_like(self.problems, dtype=torch.bool)

    def iterate(self) -> None:
        """Update two dual variables of every problem that has not converged."""
        b, v = self.b, self.v
        can_fall = b > self.lo
        highest, first = torch.where(b < self.hi, v, -torch.inf).max(dim=1, keepdim=True)
        gap = highest - torch.where(can_fall, v, torch.inf).amin(dim=1, keepdim=True)
        self.moves = ((gap >= self.tol) & (self.n_iter < self.max_iter)[:, None])[:, 0]
        values = self.rows(self.problems, first[:, 0])
        # The gain of updating a pair is its squared violation of optimality, divided by its curvature.
        curvature = self.diagonal.gather(1, first) + self.diagonal - 2 * values
        curvature = curvature.clamp_(min=LEAST_CURVATURE)
        violation = highest - v
        gain = torch.where(can_fall & (violation > 0), violation.square() / curvature, -torch.inf)
        second = gain.argmax(dim=1, keepdim=True)
        step = violation.gather(1, second) / curvature.gather(1, second)
        b_first, b_second = b.gather(1, first), b.gather(1, second)
        top, bottom = self.hi.gather(1, first), self.lo.gather(1, second)
        room_up, room_down = top - b_first, b_second - bottom
        step = torch.where(self.moves[:, None], torch.minimum(step, torch.minimum(room_up, room_down)), 0.0)
        # A reached bound is stored exactly: a sum that differs from it by rounding could stall.
        at_top = room_up - step <= self.rounding.gather(1, first)
        at_bottom = room_down - step <= self.rounding.gather(1, second)
        b.scatter_(1, first, torch.where(at_top, top, b_first + step))
        b.scatter_(1, second, torch.where(at_bottom, bottom, b_second - step))
        v.addcmul_(step, values, value=-1).addcmul_(step, self.rows(self.problems, second[:, 0]))
        self.n_iter += self.moves

    def solve(self, as_graph: bool) -> Solutions:
        """Iterate until every problem has converged, on request as a CUDA graph of `LOOK` iterations.

        As a graph, all problems are iterated until the last has converged: that costs a GPU almost nothing,
        and a graph of fewer would have to be recorded again. Otherwise only unconverged problems are
        iterated.
        """
        b, n_iter = torch.empty_like(self.b), torch.empty_like(self.n_iter)
        constants = torch.empty_like(b[:, 0])
        recording: Recording | None = None
        while len(self.problems):
            if recording is None:
                self._some()
            else:
                recording.replay()
            moving = self.moves.nonzero()[:, 0]  # waits for the GPU
            if not len(moving) or (not as_graph and 2 * len(moving) <= len(self.problems)):
                at = self.problems
                b[at], constants[at], n_iter[at] = self.b, self._constants(), self.n_iter
                self._keep(moving)
            elif as_graph and recording is None:
                recording = record(self._some, b.device)
                as_graph = recording is not None
        return Solutions(b, constants, n_iter)

    def _some(self) -> None:
        for _ in range(LOOK):
            self.iterate()

    def _keep(self, positions: Tensor) -> None:
        for name in ("diagonal", "hi", "lo", "rounding", "b", "v", "problems", "n_iter", "moves"):
            setattr(self, name, getattr(self, name)[positions])

    def _constants(self) -> Tensor:
        """Return the constants (B,): the mean residual of points between bounds, whose decision value is y.

        Without such a point, it is the midpoint of the interval that the points at their bounds allow.
        """
        can_rise, can_fall = self.b < self.hi, self.b > self.lo
        free = can_rise & can_fall
        n_free = free.sum(dim=1)
        least = torch.where(can_rise, self.v, -torch.inf).amax(dim=1)
        most = torch.where(can_fall, self.v, torch.inf).amin(dim=1)
        mean = torch.where(free, self.v, 0.0).sum(dim=1) / n_free.clamp(min=1)
        return torch.where(n_free > 0, mean, (least + most) / 2)
