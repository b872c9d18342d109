"""Batch norm over the images of all ranks."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gpu_ssl.runtime.ranks import Ranks


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm whose mean and variance are those of the images of all ranks.

    A rank may have no image of a batch. torch's own is for GPUs alone, waits for the device in every layer,
    and sends bfloat16 beside float32 where a rank has no image.

    Parameters
    ----------
    own : BatchNorm1d or BatchNorm2d
        Whose parameters and statistics it takes over; the names in a state dict stay the same.
    ranks : Ranks
        Who shares a batch.
    """

    def __init__(self, own: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(own.num_features, own.eps, own.momentum)
        self.ranks = ranks
        self.weight, self.bias = own.weight, own.bias
        self.running_mean, self.running_var = own.running_mean, own.running_var
        self.num_batches_tracked = own.num_batches_tracked
        self.train(own.training)

    def forward(self, features: Tensor) -> Tensor:
        """Normalize features of shape (n, channels) or (n, channels, height, width)."""
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        axes = [0, *range(2, features.ndim)]
        broadcast = [1, -1] + [1] * (features.ndim - 2)
        # Near zero, so that the sums can be had in one exchange, and squares lose no digits.
        x = features - self.running_mean.clone().view(broadcast)
        count = x.new_full((1,), x.numel() // self.num_features)
        sums = self.ranks.total(torch.cat([x.sum(axes), x.square().sum(axes), count]))
        mean, square = sums[:-1].view(2, -1) / (n := sums[-1].detach())
        variance = square - mean.square()
        with torch.no_grad():
            self.running_mean.add_(mean, alpha=self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normalized: Tensor = x * scale.view(broadcast) + shift.view(broadcast)
        return normalized.to(features.dtype)

    def _check_input_dim(self, features: Tensor) -> None:
        """Take what the batch norm took that this one stands for."""


def synchronize_batch_norm(network: nn.Module, ranks: Ranks) -> None:
    """Replace every batch norm within `network` by one over the images of all `ranks`."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, SynchronizedBatchNorm(child, ranks))
