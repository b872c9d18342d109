"""Muon: descent by matrices whose singular values are all alike, where AdamW takes each weight by itself.

Half the epochs give better latents than with AdamW; docs/experiments/vae.md has the comparison.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpu_ssl.runtime.torch_workarounds.adamw import AdamW

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5: they lift small singular values to about 1 in few rounds (Jordan et al. 2024)."""

ROUNDS = 3
"""Five, as is usual, lift what rounding left in directions without gradient, too: two ranks then part sooner,
and the latents are no better (docs/experiments/vae.md)."""

RMS = 0.2
"""Root mean square of a step at a learning rate of 1; AdamW's is 0.2 to 0.4 (Liu et al. 2025, 2.2)."""

SMALLEST = 1e-7
"""A norm below which a matrix counts as nothing, and its step fades with it."""


class Rates(NamedTuple):
    """What a schedule changes of a parameter group from step to step."""

    learning_rate: float | Tensor
    beta1: float | Tensor


def all_rates(numbers: Sequence[float | Tensor]) -> list[Rates]:
    """Return the rates of each group from their numbers, one after another."""
    return [Rates(*numbers[start : start + 2]) for start in range(0, len(numbers), 2)]


class Muon(AdamW):
    """Muon for the parameter groups that say ``muon=True``, AdamW for the others.

    The momentum of a weight matrix (a kernel is one too: a row for each output channel) is replaced by the
    nearest matrix with orthonormal rows or columns, about. Jordan et al. 2024, Muon: An optimizer for hidden
    layers in neural networks; scaled as in Liu et al. 2025, Muon is Scalable for LLM Training, eq. 4.
    Of the ``betas`` of such a group the first is that of the momentum.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; nothing in it waits for the device. The gradients of matrices are used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.descend()
        super().step()  # It passes over parameters without a gradient.
        return loss

    @torch.no_grad()
    def descend(self, rates: Sequence[Rates] | None = None) -> None:
        """Take the step of the matrices alone, which uses their gradients up; `step` takes the others then.

        Parameters
        ----------
        rates : sequence of Rates, optional
            Of each group, in place of its own: on the device, for a CUDA graph keeps plain numbers for good.
        """
        for group, own in zip(self.param_groups, rates or self.rates(), strict=True):
            if group["muon"]:
                self._descend(group, own)

    def rates(self) -> list[Rates]:
        """Return the learning rate and the memory of gradients that the schedule gives each group now."""
        return [Rates(group["lr"], group["betas"][0]) for group in self.param_groups]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a state as any optimizer does: AdamW would look for its own in that of matrices."""
        torch.optim.Optimizer.__setstate__(self, state)

    def _descend(self, group: dict[str, Any], rates: Rates) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        rate, beta = rates
        momenta = [self._momentum(weight) for weight in weights]
        ahead = []
        for weight, momentum in zip(weights, momenta, strict=True):
            momentum.lerp_(weight.grad, 1 - beta)
            ahead.append(torch.lerp(weight.grad, momentum, beta))  # Nesterov's look ahead
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        for weight, step in zip(weights, orthogonal([_as_matrix(d) for d in ahead]), strict=True):
            scale = RMS * max(step.shape) ** 0.5
            weight.sub_(_as_weight(step, weight.shape).mul_(rate * scale))
            weight.grad = None

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"]
        return momentum


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Return for each matrix U S V^T about U V^T: singular values between 0.6 and 1.3 but for the small.

    The rounds of Newton and Schulz multiply a matrix X by a polynomial in X X^T (or X^T X), so all of
    them can be done on that small square matrix, and X itself is multiplied once. Squares of one size go
    together.

    Parameters
    ----------
    matrices : list of Tensor
        Each of shape (rows, columns), float32.
    """
    alike = defaultdict(list)
    for number, matrix in enumerate(matrices):
        alike[min(matrix.shape)].append(number)
    found: dict[int, Tensor] = {}
    for numbers in alike.values():
        factors = _factors(torch.stack([_smaller_square(matrices[number]) for number in numbers]))
        for number, factor in zip(numbers, factors, strict=True):
            matrix = matrices[number]
            found[number] = factor @ matrix if _is_wide(matrix) else matrix @ factor
    return [found[number] for number in range(len(matrices))]


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]


def _smaller_square(matrix: Tensor) -> Tensor:
    """Return X X^T or X^T X, whichever is smaller."""
    return matrix @ matrix.T if _is_wide(matrix) else matrix.T @ matrix


def _factors(squares: Tensor) -> Tensor:
    """Return what each X is to be multiplied by, from its `_smaller_square`, of shape (n, side, side)."""
    total = squares.diagonal(dim1=1, dim2=2).sum(1).clamp_min(SMALLEST**2)
    squares = squares / total[:, None, None]  # No singular value is above 1.
    factors = polynomial = _polynomial(squares)
    for _ in range(ROUNDS - 1):
        squares = polynomial @ squares @ polynomial
        polynomial = _polynomial(squares)
        factors = polynomial @ factors
    return factors / total.sqrt()[:, None, None]


def _polynomial(squares: Tensor) -> Tensor:
    """Return a I + b S + c S^2 for each S: what a round multiplies X by."""
    a, b, c = QUINTIC
    polynomial = torch.baddbmm(squares, squares, squares, beta=b, alpha=c)
    polynomial.diagonal(dim1=1, dim2=2).add_(a)
    return polynomial


def _as_matrix(weight: Tensor) -> Tensor:
    """Turn a weight into (outputs, inputs); a kernel's channels come last, as they lie in memory."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight


def _as_weight(matrix: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) == 2:
        return matrix
    outputs, inputs, height, width = shape
    return matrix.reshape(outputs, height, width, inputs).permute(0, 3, 1, 2)
