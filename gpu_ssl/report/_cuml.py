"""UMAP with cuML, on the first visible GPU."""

import numpy as np
from cuml.manifold import UMAP
from numpy.typing import NDArray

NAME = "UMAP (cuML)"


def project(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return points (n, 2) for features (n, width); the seed makes them reproducible."""
    points: NDArray[np.float32] = UMAP(random_state=0, output_type="numpy").fit_transform(features)
    return points
