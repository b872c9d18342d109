"""What a training of the VAE does: settings, with what they leave open filled in."""

import math
from dataclasses import dataclass

import torch

from gpu_ssl import catalog
from gpu_ssl.config import ModelConfig, TrainConfig
from gpu_ssl.runtime.device import resolve_precision
from gpu_ssl.training.batches import Images
from gpu_ssl.training.optimizers import BETA1, BETA2

LARGEST_BATCH = 256
STEPS_PER_EPOCH = 20
"""Without a given batch size, batches of a small set are smaller, so that an epoch has so many steps."""


@dataclass(frozen=True)
class Plan:
    """What a training run does, with everything that `TrainConfig` left open filled in."""

    epochs: int
    batch_size: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float
    augment: bool
    mirror: bool
    precision: torch.dtype
    muon: bool = False
    beta1: tuple[float, float] = BETA1
    beta2: float = BETA2
    kl_warm_up: float = 0.0

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch


def plan_vae(config: TrainConfig, model: ModelConfig, images: Images, mirrored: bool) -> Plan:
    """Fill in what `config` leaves open, from the network, the images and their device.

    How many ranks share the work, and whether images stream, changes nothing of it.

    Parameters
    ----------
    config, model : TrainConfig, ModelConfig
        The settings; what they leave open follows the network (see `catalog.NETWORKS`).
    images : Images
        The training images.
    mirrored : bool
        Whether a mirror image is of the same class.
    """
    batch_size = config.batch_size or min(LARGEST_BATCH, max(2, len(images) // STEPS_PER_EPOCH))
    batch_size = min(batch_size, len(images))
    steps_per_epoch = len(images) // batch_size
    spec = catalog.network(model.network)
    epochs = config.epochs or max(spec.epochs, math.ceil(spec.minimum_steps / steps_per_epoch))
    augment = spec.augment if config.augment is None else config.augment
    return Plan(
        epochs=epochs,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        learning_rate=config.learning_rate or spec.learning_rate,
        weight_decay=config.weight_decay,
        augment=augment,
        mirror=augment and mirrored,
        precision=resolve_precision(config.precision, images.device),
        muon=spec.muon,
        beta1=spec.beta1,
        beta2=spec.beta2,
        kl_warm_up=spec.kl_warm_up if config.kl_warm_up is None else config.kl_warm_up,
    )
