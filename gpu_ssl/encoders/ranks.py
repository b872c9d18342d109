"""Rank-transformed pixel intensities as features: the reconstruction targets of the VAE, without a VAE."""

import math
from typing import Any

from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.training.augmentation import canonical


class Ranks(Encoder):
    """The flattened reconstruction target of each image; see `training.augmentation.canonical`."""

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__("ranks", image_shape, math.prod(image_shape))

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        return canonical(images).flatten(1)


def fit(images: TrainingImages, training: Training) -> Ranks:
    """Return the encoder; nothing is learned."""
    return build(images.image_shape, {})


def build(image_shape: ImageShape, settings: dict[str, Any]) -> Ranks:
    """Return the encoder; see `encoders.encoder`."""
    return Ranks(image_shape)
