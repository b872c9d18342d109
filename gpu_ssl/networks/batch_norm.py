"""Batch normalization over the images of all ranks."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gpu_ssl.runtime.ranks import Ranks


class SynchronizedBatchNorm(_BatchNorm):
    """Batch normalization with mean and variance over the images of all ranks.

    A rank may have no image of a batch. `torch.nn.SyncBatchNorm` supports only GPUs, synchronizes with the
    device in every layer, and mixes bfloat16 and float32 if a rank has no image.

    Parameters
    ----------
    module : BatchNorm1d or BatchNorm2d
        Layer to replace; its parameters, statistics and names in the state dict are kept.
    ranks : Ranks
        The ranks that share a batch.
    """

    def __init__(self, module: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(module.num_features, module.eps, module.momentum)
        self.ranks = ranks
        self.weight, self.bias = module.weight, module.bias
        self.running_mean, self.running_var = module.running_mean, module.running_var
        self.num_batches_tracked = module.num_batches_tracked
        self.train(module.training)

    def forward(self, features: Tensor) -> Tensor:
        """Normalize features of shape (n, channels) or (n, channels, height, width)."""
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        axes = [0, *range(2, features.ndim)]
        broadcast = [1, -1] + [1] * (features.ndim - 2)
        # Centred near zero, so that one all-reduce of sums and squares is enough without losing precision.
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
        """Accept any input that the replaced layer accepted."""


def synchronize_batch_norm(network: nn.Module, ranks: Ranks) -> None:
    """Replace every batch normalization layer in `network` by one over the images of all `ranks`."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, SynchronizedBatchNorm(child, ranks))
