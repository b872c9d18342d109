"""Principal components of pixel intensities as features."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape, intensities
from gpu_ssl.encoders.fitting import Training, TrainingImages

N_COMPONENTS = 50

MOST_NUMBERS = 60_000 * 28 * 28
"""Maximum number of pixels to compute components from; larger sets are subsampled by image."""

WIDEST = 2000
"""Maximum number of pixels per image for the covariance solver; larger images use the randomized solver."""


class PrincipalComponents(Encoder):
    """The first principal components of pixel intensities from 0 to 1.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height and width.
    width : int
        Number of components.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, image_shape: ImageShape, width: int) -> None:
        super().__init__("pca", image_shape, width)
        pixels = math.prod(image_shape)
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(width, pixels))

    def forward(self, images: Tensor) -> Tensor:
        """See `Encoder.forward`."""
        return (intensities(images).flatten(1) - self.mean) @ self.components.T

    def settings(self) -> dict[str, Any]:
        """See `Encoder.settings`."""
        return {"width": self.width}


def fit(images: TrainingImages, training: Training) -> PrincipalComponents:
    """Compute the components on the host."""
    from sklearn.decomposition import PCA

    rows = np.arange(len(images))
    most = max(N_COMPONENTS, MOST_NUMBERS // math.prod(images.image_shape))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(training.config.seed).choice(rows, most, replace=False))
    points = intensities(torch.from_numpy(images.pixels[rows])).flatten(1).numpy()
    solver = "covariance_eigh" if points.shape[1] <= WIDEST else "randomized"
    n_components = min(N_COMPONENTS, *points.shape)
    pca = PCA(n_components, svd_solver=solver, random_state=training.config.seed).fit(points)
    encoder = build(images.image_shape, {"width": n_components})
    encoder.mean.copy_(torch.from_numpy(pca.mean_))
    encoder.components.copy_(torch.from_numpy(pca.components_))
    return encoder


def build(image_shape: ImageShape, settings: dict[str, Any]) -> PrincipalComponents:
    """Return the encoder; see `encoders.encoder`."""
    return PrincipalComponents(image_shape, settings["width"])
