"""Losses summed over the steps of an epoch on the device, and copied to the host once."""

import torch
from torch import Tensor


class LossSums:
    """Sums of the reconstruction loss and the KL divergence, with their values after each part of an epoch.

    Parameters
    ----------
    device : torch.device
        Device of the losses.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, device=device)
        self._steps = 0
        self._ends: list[int] = []
        self._parts: list[Tensor] = []

    def add(self, losses: tuple[Tensor, Tensor], ends_part: bool) -> None:
        """Add the losses of a step, which may be the last one of a part."""
        self._sums += torch.stack(losses)
        self._steps += 1
        if ends_part:
            self._parts.append(self._sums.clone())
            self._ends.append(self._steps)

    @property
    def parts(self) -> Tensor:
        """The sums after each part, (n_parts, 2)."""
        return torch.stack(self._parts)

    def curve(self, parts: Tensor, kl_weight: float) -> tuple[float, ...]:
        """Return the mean loss of each part over all processes, with the weighted KL divergence."""
        lengths = torch.diff(torch.tensor([0, *self._ends], device=parts.device))
        means = torch.diff(parts, dim=0, prepend=parts.new_zeros(1, 2)) / lengths[:, None]
        return tuple(round(value, 2) for value in (means[:, 0] + kl_weight * means[:, 1]).tolist())
