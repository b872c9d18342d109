"""An encoder as somebody would add it: sums of rows and columns, less their means over training images."""

from typing import Any

import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.training.augmentation import intensities


class Profiles(Encoder):
    """Sums of the rows and of the columns of each channel."""

    means: Tensor

    def __init__(self, image_shape: ImageShape) -> None:
        channels, height, width = image_shape
        super().__init__("profiles", image_shape, channels * (height + width))
        self.register_buffer("means", torch.zeros(self.width))

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        values = intensities(images)
        return torch.cat([values.sum(3).flatten(1), values.sum(2).flatten(1)], dim=1) - self.means


def fit(images: TrainingImages, training: Training) -> Profiles:
    """Learn the means."""
    encoder = build(images.image_shape, {})
    encoder.means.copy_(encoder(torch.from_numpy(images.pixels[:])).mean(0))
    return encoder


def build(image_shape: ImageShape, settings: dict[str, Any]) -> Profiles:
    """Make the encoder; see `encoders.encoder`."""
    return Profiles(image_shape)
