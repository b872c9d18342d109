"""Common parts of all trainings: seeded weights, an optimizer, a schedule."""

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import nn

from gpu_ssl.training.muon import Muon

Network = TypeVar("Network", bound=nn.Module)

_SEEDED = Lock()
"""Held while torch's default generator has the seed of a network."""


def build(make: Callable[[], Network], device: torch.device, seed: int) -> Network:
    """Create a network on `device` whose initial weights depend only on `seed`, not on the device."""
    # The generator is shared by all threads, as are its seeds.
    with _SEEDED, torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed(), which seeds the generators of all CUDA devices too.
        torch.default_generator.manual_seed(seed)
        network = make()
    return network.to(device).to(memory_format=torch.channels_last)


BETA1, BETA2 = (0.85, 0.95), 0.999
"""Defaults of torch's schedule and AdamW; see `catalog.NetworkSpec`."""


WIDEST = 256
"""Maximum smaller side of a matrix for Muon, whose cost grows with its cube.

With 256 latents the 512 rows of the head doubled the time of a step on a CPU.
"""


def make_optimizer(
    network: nn.Module, learning_rate: float, weight_decay: float, beta2: float = BETA2, muon: bool = False
) -> Muon:
    """Create AdamW, optionally with Muon for matrices and kernels, to which weight decay is limited.

    Biases, batch norm's scales and very wide matrices are always updated by AdamW.
    """
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    by_muon = [p for p in matrices if muon and min(len(p), p[0].numel()) <= WIDEST]
    taken = {id(p) for p in by_muon}
    others = [p for p in matrices if id(p) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": by_muon, "weight_decay": weight_decay, "muon": True},
        {"params": others, "weight_decay": weight_decay, "muon": False},
        {"params": vectors, "weight_decay": 0.0, "muon": False},
    ]
    optimizer = Muon(groups, lr=learning_rate, betas=(BETA1[0], beta2), fused=True)
    optimizer.on_device = all(p.is_cuda for p in network.parameters())
    return optimizer


def make_schedule(
    optimizer: torch.optim.Optimizer,
    peak: float,
    steps: int,
    warm_up: float,
    beta1: tuple[float, float] = BETA1,
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Raise the learning rate to `peak` over the fraction `warm_up` of the steps, then lower it to nearly 0.

    The momentum changes inversely: `beta1` has its values at the peak and at both ends.
    """
    # OneCycleLR divides by the lengths of its two phases; neither may be empty.
    steps = max(steps, 2)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        peak,
        total_steps=steps,
        pct_start=max(warm_up, 1.5 / steps),
        base_momentum=beta1[0],
        max_momentum=beta1[1],
    )
