"""What a VAE must beat: the same SVM on pixels, and on what can be made of them without learning much."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_ssl.data.image_set import Dataset
from gpu_ssl.methods.features import Features, of_array
from gpu_ssl.models.augmentation import canonical

N_COMPONENTS = 50


def intensities(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images (n, ...) as rows of numbers from 0 to 1."""
    return np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)


def raw_pixels(dataset: Dataset) -> Features:
    """Take pixel intensities from 0 to 1 as features."""
    train = dataset.train.images
    return Features("raw-svc", lambda indices: intensities(train[indices]), intensities(dataset.test.images))


def principal_components(dataset: Dataset) -> Features:
    """Take the first 50 principal components of the training images' pixels as features."""
    from sklearn.decomposition import PCA

    train = intensities(dataset.train.images)
    pca = PCA(min(N_COMPONENTS, *train.shape), svd_solver="covariance_eigh").fit(train)
    return of_array("pca-svc", pca.transform(train), pca.transform(intensities(dataset.test.images)))


def pixel_ranks(dataset: Dataset) -> Features:
    """Take the pictures that our VAE learns to draw as features: what it adds shows against this."""

    def ranks(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pictures: NDArray[np.float32] = canonical(torch.from_numpy(images)).flatten(1).numpy()
        return pictures

    train = dataset.train.images
    return Features("rank-svc", lambda indices: ranks(train[indices]), ranks(dataset.test.images))


ALL: tuple[Callable[[Dataset], Features], ...] = (raw_pixels, principal_components, pixel_ranks)
"""The baselines of every table."""
