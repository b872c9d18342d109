"""What a training of the VAE does: settings, with what they leave open filled in."""

import math
from dataclasses import dataclass

import torch

from gpu_ssl.config import ModelConfig, TrainConfig
from gpu_ssl.models.batches import Images
from gpu_ssl.models.building import BETA1, BETA2
from gpu_ssl.runtime.device import resolve_precision


@dataclass(frozen=True)
class Descent:
    """How a network is trained best: what does not follow from the images.

    Attributes
    ----------
    epochs : int
        Without a given number, images are gone through so often.
    minimum_steps : int
        Without a given number of epochs, a small set is gone through until it had so many steps.
    learning_rate : float
        At its peak, without a given one.
    muon : bool
        Whether Muon moves the matrices and kernels, or AdamW all.
    beta1 : tuple of float
        How long either remembers gradients at the peak of the learning rate, and before and after it.
    beta2 : float
        How long AdamW remembers their squares.
    kl_warm_up : float
        Fraction of the steps in which the weight of the KL divergence rises from 0 to what it is.
    """

    epochs: int
    minimum_steps: int
    learning_rate: float
    muon: bool
    beta1: tuple[float, float]
    beta2: float
    kl_warm_up: float


DESCENTS = {
    # Many more steps make it learn a small set by heart: on 1,347 digits, 1,200 cost 4 points at 50 labels.
    "conv": Descent(2, 300, 1e-2, True, BETA1, BETA2, kl_warm_up=0.0),
    # Chosen by the ELBO, which knows no label. With a beta2 of 0.99 some seeds leave the valley for good.
    "mlp": Descent(10, 1000, 6e-3, False, (0.9, 0.9), 0.95, kl_warm_up=0.5),
}

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


def make_plan(config: TrainConfig, model: ModelConfig, images: Images, mirrored: bool) -> Plan:
    """Fill in what `config` leaves open, from the network, the images and their device.

    How many ranks share the work, and whether images stream, changes nothing of it.

    Parameters
    ----------
    config, model : TrainConfig, ModelConfig
        The settings. Augmentation defaults to on for ``conv`` and, as in the paper, off for ``mlp``.
    images : Images
        The training images.
    mirrored : bool
        Whether a mirror image is of the same class.
    """
    batch_size = config.batch_size or min(LARGEST_BATCH, max(2, len(images) // STEPS_PER_EPOCH))
    batch_size = min(batch_size, len(images))
    steps_per_epoch = len(images) // batch_size
    descent = DESCENTS[model.network]
    epochs = config.epochs or max(descent.epochs, math.ceil(descent.minimum_steps / steps_per_epoch))
    augment = model.network == "conv" if config.augment is None else config.augment
    return Plan(
        epochs=epochs,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        learning_rate=config.learning_rate or descent.learning_rate,
        weight_decay=config.weight_decay,
        augment=augment,
        mirror=augment and mirrored,
        precision=resolve_precision(config.precision, images.device),
        muon=descent.muon,
        beta1=descent.beta1,
        beta2=descent.beta2,
        kl_warm_up=descent.kl_warm_up,
    )
