"""Scenes, and frames of them that nearly equal each other."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def scenes(n: int, rng: np.random.Generator, side: int = 20) -> NDArray[np.float64]:
    """Smooth grey images (n, 1, side, side) that have nothing in common."""
    fields = gaussian_filter(rng.normal(size=(n, 1, side, side)), (0, 0, 2.5, 2.5), mode="wrap")
    return 128 + 45 * fields / fields.std(axis=(2, 3), keepdims=True)


def frames(
    of: NDArray[np.float64], length: int, rng: np.random.Generator, move: int = 1
) -> NDArray[np.uint8]:
    """Frames (n * length, 1, side, side), those of a scene together: a little noise, light and movement."""
    images = np.repeat(of, length, axis=0)
    for image in images:
        image[:] = np.roll(image, rng.integers(-move, move + 1, 2), (1, 2)) * rng.uniform(0.95, 1.05)
    return (images + rng.normal(0, 3, images.shape)).clip(0, 255).round().astype(np.uint8)
