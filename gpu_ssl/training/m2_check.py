"""Checks whether an M2 has learned anything about its inputs."""

import logging

import torch
from torch import Tensor

from gpu_ssl.networks.m2 import M2
from gpu_ssl.networks.m2_bounds import blind_bound, unlabelled_bound
from gpu_ssl.training.augmentation import intensities
from gpu_ssl.training.joint import JointBatch
from gpu_ssl.training.m2_objectives import ModernObjective
from gpu_ssl.training.m2_published import PublishedObjective

logger = logging.getLogger(__name__)

CHECKED = 1000
"""Number of images whose bound is computed."""

BOUNDS = 2500
"""Bounds per block: one for each class of an image."""


@torch.no_grad()
def bound_and_blind(
    network: M2, objective: ModernObjective | PublishedObjective, images: Tensor
) -> tuple[float, float]:
    """Return the mean bound U(x) of an M2 in nats, and the minimum for a decoder that ignores its inputs.

    Parameters
    ----------
    network : M2
        The network, in evaluation mode.
    objective : ModernObjective or PublishedObjective
        Generates inputs and targets.
    images : Tensor of shape (n, channels, height, width), uint8
        All training images, of which `CHECKED` are used.
    """
    n = min(CHECKED, len(images))
    rows = torch.arange(n, device=images.device) * len(images) // n
    bounds, targets = [], []
    for block in torch.split(rows, max(1, BOUNDS // network.n_classes)):
        batch = JointBatch(intensities(images[block]), block)
        pair = objective.pair(network, batch)
        features = network.trunk(pair.inputs)
        every = network.bounds(network.to_hidden(features), pair.targets, objective.generator)
        bounds.append(unlabelled_bound(every, network.classifier(features).float().log_softmax(dim=1)))
        targets.append(pair.targets)
    return float(torch.cat(bounds).mean()), blind_bound(torch.cat(targets), network.likelihood)


def warn_if_blind(
    method: str, network: M2, objective: ModernObjective | PublishedObjective, images: Tensor
) -> None:
    """Log a warning if the bound is not below that of a decoder that ignores its inputs."""
    bound, blind = bound_and_blind(network, objective, images)
    logger.info("%s: a bound of %.2f nats; a decoder that ignores its inputs: %.2f", method, bound, blind)
    if not bound < blind:
        logger.warning(
            "%s has not learned anything about its inputs: its bound is %.1f nats, that of a decoder that "
            "ignores them %.1f; give it more `steps`",
            *(method, bound, blind),
        )
