"""Principal components of pixel intensities as features."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.encoders.encoder import Encoder, ImageShape
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.training.augmentation import intensities

N_COMPONENTS = 50

MOST_NUMBERS = 60_000 * 28 * 28
"""Maximum number of pixels to compute components from; larger sets are subsampled by image."""

WIDEST = 2000
"""Maximum number of pixels per image for the covariance's eigenvectors; of larger images scikit-learn's
randomized solver takes over."""


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
    rows = np.arange(len(images))
    most = max(N_COMPONENTS, MOST_NUMBERS // math.prod(images.image_shape))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(training.config.seed).choice(rows, most, replace=False))
    points = intensities(torch.from_numpy(images.pixels[rows])).flatten(1).numpy()
    n_components = min(N_COMPONENTS, *points.shape)
    mean, components = principal_components(points, n_components, training.config.seed)
    encoder = build(images.image_shape, {"width": n_components})
    encoder.mean.copy_(torch.from_numpy(mean))
    encoder.components.copy_(torch.from_numpy(components))
    return encoder


def principal_components(
    points: NDArray[np.float32], n: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean of points (m, d) and their first `n` principal components, (d,) and (n, d).

    For narrow points as scikit-learn's PCA works them out, which takes longer to import.
    """
    if points.shape[1] > WIDEST:
        from sklearn.decomposition import PCA

        pca = PCA(n, svd_solver="randomized", random_state=seed).fit(points)
        return pca.mean_, pca.components_
    mean = points.mean(axis=0)
    covariance = points.T @ points - len(points) * np.outer(mean, mean)
    _, vectors = np.linalg.eigh(covariance / max(1, len(points) - 1))
    components = vectors.T[::-1][:n]
    # The sign of a component is arbitrary; make its largest weight positive.
    largest = np.abs(components).argmax(axis=1)
    return mean, components * np.sign(components[np.arange(n), largest])[:, None]


def build(image_shape: ImageShape, settings: dict[str, Any]) -> PrincipalComponents:
    """Return the encoder; see `encoders.encoder`."""
    return PrincipalComponents(image_shape, settings["width"])
