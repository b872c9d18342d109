"""Muon: updates whose matrices have equal singular values, instead of AdamW's elementwise updates.

Half the epochs give better latents than AdamW; docs/experiments/vae.md has the comparison.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpu_ssl.runtime.torch_workarounds.adamw import AdamW

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5; they raise small singular values to about 1 (Jordan et al. 2024)."""

ROUNDS = 3
"""The usual five also amplify rounding noise where the gradient vanishes: two processes then diverge sooner,
and the latents are not better (docs/experiments/vae.md)."""

RMS = 0.2
"""Root mean square of a step at a learning rate of 1; AdamW's is 0.2 to 0.4 (Liu et al. 2025, 2.2)."""

SMALLEST = 1e-7
"""Norm below which the step of a matrix vanishes with it."""


class Rates(NamedTuple):
    """The values of a parameter group that a schedule changes in each step."""

    learning_rate: float | Tensor
    beta1: float | Tensor


def all_rates(numbers: Sequence[float | Tensor]) -> list[Rates]:
    """Return the rates of each group from a flat sequence of numbers."""
    return [Rates(*numbers[start : start + 2]) for start in range(0, len(numbers), 2)]


class Muon(AdamW):
    """Muon for parameter groups with ``muon=True``, AdamW for the others.

    The momentum of a weight matrix (or kernel, with a row for each output channel) is replaced approximately
    by the nearest matrix with orthonormal rows or columns. Jordan et al. 2024, Muon: An optimizer for hidden
    layers in neural networks; scaled as in Liu et al. 2025, Muon is Scalable for LLM Training, eq. 4. The
    first of the ``betas`` of such a group is that of the momentum.

    Attributes
    ----------
    on_device : bool
        Whether `descend` also performs AdamW's steps, with every number on the device, so that a CUDA graph
        can record the whole step: torch's fused AdamW takes beta1 as a plain number.
    """

    on_device = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step without waiting for the device. The gradients of matrices are overwritten."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.descend()
        super().step()  # It skips parameters without a gradient.
        return loss

    @torch.no_grad()
    def descend(self, rates: Sequence[Rates] | None = None) -> None:
        """Perform the step of the matrices, and with `on_device` of all parameters, using up their gradients.

        `step` then updates the parameters that still have a gradient.

        Parameters
        ----------
        rates : sequence of Rates, optional
            Rates of each group that replace its own, as tensors on the device: a CUDA graph records plain
            numbers as constants.
        """
        for group, own in zip(self.param_groups, rates or self.rates(), strict=True):
            if group["muon"]:
                self._descend(group, own)
            elif self.on_device:
                self._adam(group, own)

    def rates(self) -> list[Rates]:
        """Return the current learning rate and momentum of each group by the schedule."""
        return [Rates(group["lr"], group["betas"][0]) for group in self.param_groups]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a state as any optimizer does: AdamW would expect its own for matrices."""
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
            ahead.append(torch.lerp(weight.grad, momentum, beta))  # Nesterov momentum
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        for weight, step in zip(weights, orthogonal([_as_matrix(d) for d in ahead]), strict=True):
            scale = RMS * max(step.shape) ** 0.5
            weight.sub_(_as_weight(step, weight.shape).mul_(rate * scale))
            weight.grad = None

    def _adam(self, group: dict[str, Any], rates: Rates) -> None:
        """Perform torch's step of AdamW, with its state, by operations that take numbers from the device."""
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        (rate, beta1), beta2 = rates, group["betas"][1]
        gradients = [weight.grad for weight in weights]
        means, squares, steps = zip(*map(self._moments, weights), strict=True)
        torch._foreach_add_(steps, 1)
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, torch._foreach_mul(gradients, 1 - beta1))
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        changes = torch._foreach_sqrt(squares)
        torch._foreach_div_(changes, (1 - beta2 ** steps[0]).sqrt())
        torch._foreach_add_(changes, group["eps"])
        changes = torch._foreach_div(means, changes)
        torch._foreach_mul_(changes, rate / (1 - beta1 ** steps[0]))
        torch._foreach_sub_(weights, changes)
        for weight in weights:
            weight.grad = None

    def _moments(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the means of gradients and of their squares, and the number of steps, with torch's names."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        return state["exp_avg"], state["exp_avg_sq"], state["step"]

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"]
        return momentum


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Return approximately U V^T for each matrix U S V^T: singular values from 0.6 to 1.3, except small ones.

    The Newton-Schulz rounds multiply a matrix X by a polynomial in X X^T (or X^T X), so all of them operate
    on that small square matrix, and X itself is multiplied once. Squares of equal size are batched.

    Parameters
    ----------
    matrices : list of Tensor
        Matrices of shape (rows, columns), float32.
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
    """Return the factor of each X, from its `_smaller_square`, of shape (n, side, side)."""
    total = squares.diagonal(dim1=1, dim2=2).sum(1).clamp_min(SMALLEST**2)
    squares = squares / total[:, None, None]  # No singular value is above 1.
    factors = polynomial = _polynomial(squares)
    for _ in range(ROUNDS - 1):
        squares = polynomial @ squares @ polynomial
        polynomial = _polynomial(squares)
        factors = polynomial @ factors
    return factors / total.sqrt()[:, None, None]


def _polynomial(squares: Tensor) -> Tensor:
    """Return a I + b S + c S^2 for each S, the factor of X in a round."""
    a, b, c = QUINTIC
    polynomial = torch.baddbmm(squares, squares, squares, beta=b, alpha=c)
    polynomial.diagonal(dim1=1, dim2=2).add_(a)
    return polynomial


def _as_matrix(weight: Tensor) -> Tensor:
    """Return a weight as (outputs, inputs); a kernel's channels come last, as in memory."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.ndim == 4 else weight


def _as_weight(matrix: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) == 2:
        return matrix
    outputs, inputs, height, width = shape
    return matrix.reshape(outputs, height, width, inputs).permute(0, 3, 1, 2)
