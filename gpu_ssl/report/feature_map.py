"""Features of images in two dimensions, by UMAP if it is installed, else principal components."""

import warnings
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from gpu_ssl.report.data_address import address_of, picture_of, sheet_of
from gpu_ssl.report.details import FeatureMap

POINTS = 1000
"""Maximum number of images on a map."""

TILE = 28
"""Maximum side length in pixels of the image of a point."""

COLUMNS = 40
"""Images in a row of the sheet."""


def make_map(
    features: NDArray[np.float32], images: NDArray[np.uint8], classes: NDArray[np.int64]
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
    """
    n = min(POINTS, len(features))
    points, how = _flattened(features[:n])
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-12)
    pictures = [picture_of(image, TILE) for image in images[:n]]
    return FeatureMap(
        how=how,
        points=tuple((round(x, 4), round(y, 4)) for x, y in ((points - low) / span).tolist()),
        classes=tuple(classes[:n].tolist()),
        sheet=address_of(sheet_of(pictures, COLUMNS)),
        columns=COLUMNS,
        tile=pictures[0].size,
    )


def _flattened(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], str]:
    """Return points (n, 2), and the name of the projection."""
    if find_spec("umap") is not None and len(features) > 15:  # UMAP's number of neighbours
        import umap

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = umap.UMAP(random_state=0).fit_transform(features)
        return np.asarray(found, np.float64), "UMAP"
    return principal_components(features), "the first two principal components"


def principal_components(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the first two principal components of features (n, width), (n, 2); 0 where there are fewer."""
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    # Of the products of columns and those of rows, the smaller matrix has the same eigenvalues.
    tall = len(centred) > centred.shape[1]
    values, vectors = np.linalg.eigh(centred.T @ centred if tall else centred @ centred.T)
    found = centred @ vectors if tall else vectors * np.sqrt(np.maximum(values, 0.0))
    points = np.zeros((len(features), 2))
    largest = found[:, ::-1][:, :2]
    # The sign of a component is nobody's: the largest value of each is positive.
    signs = np.sign(np.take_along_axis(largest, np.abs(largest).argmax(axis=0)[None], axis=0))
    points[:, : largest.shape[1]] = largest * signs
    return points
