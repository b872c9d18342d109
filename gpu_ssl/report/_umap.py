"""UMAP with umap-learn, on the CPU."""

import warnings

import numpy as np
import umap
from numpy.typing import NDArray

NAME = "UMAP (umap-learn)"


def project(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return points (n, 2) for features (n, width); the seed makes them reproducible."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the single thread that a seed costs
        points: NDArray[np.float32] = umap.UMAP(random_state=0).fit_transform(features)
    return points
