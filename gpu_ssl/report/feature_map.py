"""Features of images in two dimensions, by UMAP of cuML or umap-learn, else principal components."""

import importlib
import logging
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.encoders.pca import principal_components
from gpu_ssl.report.data_address import address_of, image_of, sheet_of
from gpu_ssl.report.details import FeatureMap
from gpu_ssl.runtime.state import reason_of

logger = logging.getLogger(__name__)

POINTS = 1000
"""Maximum number of images on a map."""

TILE = 28
"""Maximum side length in pixels of the image of a point."""

NEIGHBOURS = 15
"""Neighbours that UMAP looks at; it needs more images than that."""

COMPONENTS = "the first two principal components"

COLUMNS = 40
"""Images in a row of the sheet."""


def make_map(
    features: NDArray[np.float32],
    images: NDArray[np.uint8],
    classes: NDArray[np.int64],
    device: str = "cpu",
) -> FeatureMap:
    """Return the map of some images.

    Parameters
    ----------
    features : ndarray of shape (n, width), float32
        Features of the images.
    images : ndarray of shape (n, channels, height, width), uint8
        The images.
    classes : ndarray of shape (n,), int64
        Their classes.
    device : str
        Device of the run: only on a GPU may cuML be used.
    """
    n = min(POINTS, len(features))
    points, how = _projected(features[:n], device)
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-12)
    tiles = [image_of(image, TILE) for image in images[:n]]
    return FeatureMap(
        how=how,
        points=tuple((round(x, 4), round(y, 4)) for x, y in ((points - low) / span).tolist()),
        classes=tuple(classes[:n].tolist()),
        sheet=address_of(sheet_of(tiles, COLUMNS)),
        columns=COLUMNS,
        tile=tiles[0].size,
    )


def _projected(features: NDArray[np.float32], device: str) -> tuple[NDArray[np.float64], str]:
    """Return points (n, 2), and the name of the projection."""
    module = _module_of_umap(device) if len(features) > NEIGHBOURS else None
    if module is None:
        return two_components(features), COMPONENTS
    try:
        umap = importlib.import_module(module)
        return np.asarray(umap.project(features), np.float64), umap.NAME
    except Exception as error:
        # The map is optional: any error of UMAP falls back to principal components, and the page says why.
        logger.info("", exc_info=True)
        return two_components(features), f"{COMPONENTS}, as UMAP failed ({reason_of(error)})"


def _module_of_umap(device: str) -> str | None:
    if device.startswith("cuda") and find_spec("cuml") is not None:
        return "gpu_ssl.report._cuml"
    return "gpu_ssl.report._umap" if find_spec("umap") is not None else None


def two_components(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the coordinates of features (n, width) along their first two principal components, (n, 2)."""
    mean, components = principal_components(features, min(2, *features.shape), seed=0)
    points = np.zeros((len(features), 2))
    points[:, : len(components)] = (features - mean) @ components.T
    return points
