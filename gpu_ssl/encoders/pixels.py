"""Pixel intensities as features, the baseline for other encoders."""

import math
from typing import Any

from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.training.augmentation import intensities


class Pixels(Encoder):
    """Flattened intensities from 0 to 1."""

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__("pixels", image_shape, math.prod(image_shape))

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        return intensities(images).flatten(1)


def fit(images: TrainingImages, training: Training) -> Pixels:
    """Return the encoder; nothing is learned."""
    return build(images.image_shape, {})


def build(image_shape: ImageShape, settings: dict[str, Any]) -> Pixels:
    """Return the encoder; see `encoders.encoder`."""
    return Pixels(image_shape)
