"""The plan of a VAE's training: settings with all defaults resolved."""

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
"""Minimum steps per epoch; the default batch size is smaller for small data sets to reach it."""


@dataclass(frozen=True)
class Plan:
    """The settings of a training, with all defaults of `TrainConfig` resolved."""

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
    binarize: bool = False

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch


def plan_vae(config: TrainConfig, model: ModelConfig, images: Images, mirrored: bool) -> Plan:
    """Resolve the defaults of `config` from the network, the images and their device.

    They do not depend on the number of processes, or on whether images are streamed.

    Parameters
    ----------
    config, model : TrainConfig, ModelConfig
        The settings; defaults are those of the network (see `catalog.NETWORKS`).
    images : Images
        The training images.
    mirrored : bool
        Whether mirroring keeps the class.
    """
    batch_size = config.batch_size or min(LARGEST_BATCH, max(2, len(images) // STEPS_PER_EPOCH))
    batch_size = min(batch_size, len(images))
    steps_per_epoch = len(images) // batch_size
    spec = catalog.network(model.network)
    minimum = spec.steps_of_tiny if math.prod(images.shape) <= catalog.TINY else spec.minimum_steps
    epochs = config.epochs or max(spec.epochs, math.ceil(minimum / steps_per_epoch))
    augment = spec.augment and not config.binarize if config.augment is None else config.augment
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
        binarize=config.binarize,
    )
