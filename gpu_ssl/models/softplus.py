"""log(1 + e^x), four times as fast on a CPU as torch's own (with its gradient twice)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SMALLEST = 1e-35
"""Where sigmoid(-x) is less, log(1 + e^x) is x."""


class Softplus(nn.Module):
    """`softplus` as a layer."""

    def forward(self, values: Tensor) -> Tensor:
        """Return log(1 + e^x) of each value."""
        return softplus(values)


def softplus(values: Tensor, shift: float = 0.0) -> Tensor:
    """Return log(1 + e^x) + `shift` of each value x, in the dtype of `values`.

    torch's is made of log1p, which takes ten times as long on a CPU as log does. This is -log sigmoid(-x), to
    within some 1e-7 whatever x is: far below what float32 leaves of a sum of them.
    """
    if not values.is_cpu:  # There it is one kernel.
        return F.softplus(values) + shift if shift else F.softplus(values)
    if torch.is_grad_enabled() and values.requires_grad:
        result: Tensor = _Softplus.apply(values, shift)
        return result
    return _softplus(values, shift)


def _softplus(values: Tensor, shift: float) -> Tensor:
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    logarithm = wide.neg().sigmoid_().clamp_min_(SMALLEST).log_()
    return torch.maximum(logarithm.neg_(), wide).add_(shift).to(values.dtype)


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, shift: float) -> Tensor:
        ctx.save_for_backward(values)
        return _softplus(values, shift)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        return torch.sigmoid(values).mul_(gradient), None
